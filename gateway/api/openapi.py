"""The OpenAPI 3.1 document, put together from what stands next to each route (gateway/edge/described.py).

Schemas come from the structs that decode and encode the bodies, examples of errors from the functions that render them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from gateway.edge.described import Answer, Described, ErrorShape
from gateway.errors import GatewayError
from gateway.video import parse_public_id

_ABOUT = """Video generation with exact money: what is held is known before a job starts, and only delivered seconds are charged.

A request that is answered 2xx is durable; after any other answer nothing is held. Send `Authorization: Bearer tl_…`.
Each answer carries `x-request-id`. The same jobs can be created and read in the OpenAI and Ark dialects.
"""
_SESSION = """The cookie of a person who has signed in (`tallylight` on http://localhost), for pages of this origin only. Send the
session's `csrf_token` as `X-CSRF-Token` with every request that is not a GET. Whoever is in several organizations names one with
`Tallylight-Organization`. A request that has a key as well is the key's."""
_REF = "#/components/schemas/{name}"
_JOB_ID = "The id of a job, as any dialect answered it."
_ID_SHAPE = "^job_[0-9a-f]{32}$"
assert parse_public_id("job_" + "0" * 32)

Json = dict[str, Any]


class Operation(msgspec.Struct, frozen=True):
    """A route's method, its description and the errors of its dialect."""

    path: str
    method: str
    handler: Any
    described: Described
    errors: ErrorShape

    @property
    def name(self) -> str:
        name = str(self.handler.operation_id)
        return name if self.method != "head" else f"{name}_head"


def operations(app: Litestar) -> Iterator[Operation]:
    """Every documented operation. Raises LookupError for a route that does not describe itself."""
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            methods = sorted(str(method).lower() for method in handler.http_methods if method != "OPTIONS")
            if not methods or handler.include_in_schema is False:
                continue
            described, errors = handler.opt.get("described"), handler.opt.get("errors")
            if not isinstance(described, Described) or not isinstance(errors, ErrorShape):
                raise LookupError(  # noqa: TRY004 – no value has a wrong type: a route lacks its description
                    f"{route.path_format} does not describe itself: give it opt={{'described': Described(…)}}"
                )
            for method in methods:
                yield Operation(route.path_format, method, handler, described, errors)


def document(app: Litestar, version: str) -> Json:
    """The whole document. Raises LookupError for a route that does not describe itself."""
    every = sorted(operations(app), key=lambda operation: (operation.path, operation.method))
    types = list({repr(kind): kind for operation in every for kind in _types(operation)}.values())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {repr(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Json] = {}
    for operation in every:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallylight",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.described.tag for operation in every)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "tl_live_… or tl_test_…",
                    "description": "An inference key.",
                },
                "operator": {"type": "http", "scheme": "bearer", "description": "The operator token of this gateway."},
                "management": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "tl_mgmt_…",
                    "description": "A management key that has the scope.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-tallylight",
                    "description": _SESSION,
                },
            },
            "headers": {"RequestId": {"description": "Quote it when you ask about a request.", "schema": {"type": "string"}}},
        },
    }


def _types(operation: Operation) -> Iterator[Any]:
    described = operation.described
    yield operation.errors.document
    yield from (answer.of for answer in described.answers.values() if answer.of is not None)
    yield from (parameter.of for parameter in described.parameters)
    if described.body is not None:
        yield described.body


def _operation(operation: Operation, schema_of: Mapping[str, Json], components: Mapping[str, Json]) -> Json:
    described = operation.described
    about = (operation.handler.fn.__doc__ or "").strip()
    built: Json = {
        "operationId": operation.name,
        "tags": [described.tag],
        "summary": about.partition(". ")[0].partition(": ")[0].rstrip("."),
        "description": " ".join(about.split()),
        "parameters": _parameters(operation, schema_of),
        "responses": {
            **{str(status): _answer(answer, operation.method, schema_of) for status, answer in described.answers.items()},
            **_failures(operation, schema_of),
        },
    }
    if described.public:
        built["security"] = []
    elif described.operator:
        built["security"] = [{"operator": []}]
    elif described.scope is not None:
        by: list[dict[str, list[str]]] = [{"management": [described.scope]}, {"session": []}]
        built["security"] = [*by, *([{"bearer": list[str]()}] if described.callers else [])]
    elif described.session:
        built["security"] = [{"session": []}]
    if described.body is not None:
        built["requestBody"] = {"required": True, "content": _bodies(described, schema_of, components)}
    return built


def _parameters(operation: Operation, schema_of: Mapping[str, Json]) -> list[Json]:
    given = {parameter.name: parameter for parameter in operation.described.parameters}
    found: list[Json] = []
    for part in operation.path.split("/"):
        if part.startswith("{") and part[1:-1] not in given:
            schema = {"type": "string", "pattern": _ID_SHAPE}
            found.append({"name": part[1:-1], "in": "path", "required": True, "description": _JOB_ID, "schema": schema})
    for parameter in given.values():
        schema = schema_of[repr(parameter.of)]
        required = parameter.required or parameter.where == "path"
        found.append(
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": required,
                "description": parameter.about,
                "schema": schema,
            }
        )
    return found


def _bodies(described: Described, schema_of: Mapping[str, Json], components: Mapping[str, Json]) -> Json:
    schema = schema_of[repr(described.body)]
    examples = {name: {"value": value} for name, value in described.examples.items()}
    content: Json = {"application/json": {"schema": schema, **({"examples": examples} if examples else {})}}
    if described.files is not None:
        fields = components[schema["$ref"].rpartition("/")[2]]
        files = {name: {"type": "string", "format": "binary", "description": about} for name, about in described.files.items()}
        content["multipart/form-data"] = {"schema": {**fields, "properties": {**fields["properties"], **files}}}
    return content


def _answer(answer: Answer, method: str, schema_of: Mapping[str, Json]) -> Json:
    headers: Json = {name: {"description": about, "schema": {"type": "string"}} for name, about in answer.headers.items()}
    built: Json = {"description": answer.about, "headers": {**_HEADERS, **headers}}
    if answer.empty or method == "head":
        return built
    media = (answer.media,) if isinstance(answer.media, str) else answer.media
    schema = {} if answer.of is None else schema_of[repr(answer.of)]
    built["content"] = {
        **{kind: {"schema": _event(schema) if kind == "text/event-stream" else schema} for kind in media},
        **{kind: {} for kind in answer.files},
    }
    return built


def _event(data: Json) -> Json:
    """One event of a stream, as OpenAPI 3.2 describes server-sent events: its data is a string that holds JSON."""
    holds: Json = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": holds, "retry": {"type": "integer"}},
    }


_HEADERS: Json = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}


def _failures(operation: Operation, schema_of: Mapping[str, Json]) -> Json:
    by_status: dict[int, list[type[GatewayError]]] = {}
    for error in dict.fromkeys(operation.described.every_error(reads=operation.method in ("get", "head"))):
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _failure(operation, errors, schema_of) for status, errors in sorted(by_status.items())}


def _failure(operation: Operation, errors: Sequence[type[GatewayError]], schema_of: Mapping[str, Json]) -> Json:
    examples: Json = {}
    media_type = ""
    for error in errors:
        body, media_type = operation.errors.render(error())
        examples[error.code] = {"summary": error.__doc__, "value": msgspec.json.decode(body)}
    headers: Json = dict(_HEADERS)
    if any(error.retry is not None for error in errors):
        headers["X-Should-Retry"] = {"description": "Whether repeating can help.", "schema": {"enum": ["true", "false"]}}
    if any(error.retry for error in errors):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "string"}}
    built: Json = {"description": " · ".join(f"`{error.code}`" for error in errors), "headers": headers}
    if operation.method != "head":
        schema = schema_of[repr(operation.errors.document)]
        built["content"] = {media_type: {"schema": schema, "examples": examples}}
    return built
