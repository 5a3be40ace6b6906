"""Answers: bytes that are ready, with the headers every answer carries."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self

import asyncpg
import structlog
from litestar import Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)
from litestar.types import Receive, Scope, Send

from billing.kit.batch import TRANSIENT, Overloaded
from gateway.edge.caller import HttpRequest, header, noted
from gateway.errors import (
    GatewayError,
    InternalError,
    InvalidRequest,
    LinkRefused,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from gateway.media.errors import LinkRefused as MediaLinkRefused
from gateway.media.errors import StoreError
from gateway.submission import Admitted

log = structlog.get_logger(__name__)

JSON = (b"content-type", b"application/json")


class Reply(Response[bytes]):
    """A JSON document that is ready, as the ASGI application that sends it: nothing is converted or completed on the way."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self._body, self._status = body, status
        self._headers = [JSON, (b"content-length", b"%d" % len(body))]
        for name, value in headers.items():
            self._headers.append((name.encode(), value.encode("latin-1")))

    def to_asgi_response(self, *_: object, **__: object) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] it is sent, no more
        return self

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def json_reply(body: bytes, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
    return Reply(body, status, headers)


def admitted_reply(admitted: Admitted, headers: Mapping[str, str]) -> Reply:
    """The stored answer with what quotas have left, or marked when it was given before."""
    marked = {**headers, "idempotent-replayed": "true"} if admitted.replayed else {**headers, **admitted.limits}
    return json_reply(admitted.body, admitted.status, marked)


def failure_headers(error: GatewayError) -> dict[str, str]:
    headers = dict(error.headers)
    if error.retry is not None:
        headers["x-should-retry"] = str(error.retry).lower()
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == Unauthenticated.status:
        headers["www-authenticate"] = "Bearer"
    return headers


def failure_of(error: Exception) -> GatewayError:
    """What a client is told about any exception; what is not known here is ours and is logged."""
    match error:
        case GatewayError():
            return error
        case MediaLinkRefused():
            return LinkRefused(error.detail)
        case NotFoundException():
            return NotFound()
        case MethodNotAllowedException():
            return MethodNotAllowed()
        case HTTPException(status_code=413):
            return TooLarge()
        case HTTPException() if error.status_code < 500:
            return InvalidRequest(error.detail)
        case Overloaded() | StoreError():
            return Unavailable(retry_after_s=2)
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | OSError() if isinstance(error, TRANSIENT):
            log.warning("database_away", error=type(error).__name__)
            return Unavailable(retry_after_s=5)
        case _:
            log.error("unhandled", error=type(error).__name__, exc_info=error)
            return InternalError()


Renderer = Callable[[GatewayError], tuple[bytes, str]]
"""An error in a dialect's own shape: body and media type."""


def failure_reply(error: Exception, render: Renderer) -> Response[bytes]:
    failure = failure_of(error)
    noted.get().code = failure.code
    body, media_type = render(failure)
    headers = failure_headers(failure)
    if isinstance(error, MethodNotAllowedException) and error.headers:
        headers["allow"] = error.headers["allow"]  # RFC 9110 §15.5.6: a 405 names what would be answered
    return Response(body, status_code=failure.status, media_type=media_type, headers=headers)


def base_url(request: HttpRequest, configured: str) -> str:
    """How this client reaches the API: as configured, else as it did now."""
    if configured:
        return configured.rstrip("/")
    host = header(request, b"host")
    return f"{request.scope['scheme']}://{host}" if host else f"{request.url.scheme}://{request.url.netloc}"
