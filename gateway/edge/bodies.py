"""Request bodies, read under limits and refused with a sentence. Nothing is buffered beyond the limit."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from gateway.edge.caller import HttpRequest, gateway_of, header
from gateway.errors import InvalidRequest, TooLarge, UnsupportedContent, UnsupportedField

Body = TypeVar("Body")

FIELD_MAX_BYTES = 1 << 20
PARTS_MAX = 64


class Upload(msgspec.Struct, frozen=True):
    """A file part of a form."""

    field: str
    filename: str
    data: bytes


class Form(msgspec.Struct, frozen=True):
    """A decoded form: fields in order of arrival, and files."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[Upload, ...]


def content_type(request: HttpRequest) -> tuple[str, dict[str, str]]:
    """The lower-case media type and its parameters. Raises UnsupportedContent for a charset other than UTF-8."""
    kind, options = parse_options_header(header(request, b"content-type") or "")
    if options.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedContent
    return kind.lower(), options


async def _chunks(request: HttpRequest, limit_bytes: int) -> AsyncIterator[bytes]:
    """Raises TooLarge as soon as the declared or received size passes the limit, InvalidRequest when the client goes away."""
    declared = header(request, b"content-length") or ""
    if declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge(f"the body may have at most {limit_bytes} bytes")
    received, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest("the connection was closed before the body was complete")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        received += len(chunk)
        if received > limit_bytes:
            raise TooLarge(f"the body may have at most {limit_bytes} bytes")
        if chunk:
            yield chunk


async def read_body(request: HttpRequest, limit_bytes: int) -> bytes:
    """Raises TooLarge, InvalidRequest."""
    return b"".join([chunk async for chunk in _chunks(request, limit_bytes)])


async def read_json(request: HttpRequest, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decodes a JSON body. Raises UnsupportedContent, TooLarge, UnsupportedField or InvalidRequest naming the field."""
    kind, _ = content_type(request)
    if kind not in ("application/json", "") and not kind.endswith("+json"):
        raise UnsupportedContent
    return decode_json(await read_body(request, gateway_of(request).settings.json_body_max_bytes), decoder)


def decode_json(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Raises UnsupportedField or InvalidRequest naming the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error


def convert(value: object, kind: type[Body], *, strict: bool) -> Body:
    """Checks a decoded value against a struct. Raises UnsupportedField or InvalidRequest naming the field."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(error) from error


def refusal(error: msgspec.ValidationError) -> InvalidRequest | UnsupportedField:
    """The sentence of msgspec, with the field it is about: "Expected `int`, got `str` - at `$.seed`"."""
    sentence = str(error)
    reason, _, path = sentence.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if reason.startswith("Object contains unknown field `"):
        name = reason.removeprefix("Object contains unknown field `").rstrip("`")
        full = f"{field}.{name}" if field else name
        return UnsupportedField(f"{full} is not supported here; remove it", param=full)
    if reason.startswith("Object missing required field `"):
        name = reason.removeprefix("Object missing required field `").rstrip("`")
        full = f"{field}.{name}" if field else name
        return InvalidRequest(f"{full} is required", param=full)
    return InvalidRequest(f"{field or 'the body'}: {reason}", param=field or None)


async def read_form(request: HttpRequest) -> Form:
    """Decodes multipart/form-data. Raises UnsupportedContent, TooLarge, InvalidRequest."""
    kind, options = content_type(request)
    if kind != "multipart/form-data":
        raise UnsupportedContent
    limit = gateway_of(request).settings.request_body_max_bytes
    fields: list[tuple[str, str]] = []
    files: list[Upload] = []
    try:
        parser = PushMultipartParser(options.get("boundary", ""), max_segment_count=PARTS_MAX, strict=True)
        segment: MultipartSegment | None = None
        data = bytearray()
        async for chunk in _chunks(request, limit):
            for event in parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    segment, data = event, bytearray()
                elif event:
                    data += event
                    if segment is not None and segment.filename is None and len(data) > FIELD_MAX_BYTES:
                        raise TooLarge(f"{segment.name}: a field may have at most {FIELD_MAX_BYTES} bytes")
                elif segment is not None:
                    _keep(segment, bytes(data), fields, files)
        if not parser.closed:
            raise InvalidRequest("the form ends before its closing boundary")
    except (MultipartError, UnicodeDecodeError, LookupError) as error:
        raise InvalidRequest(f"the form could not be read: {error}") from error
    return Form(tuple(fields), tuple(files))


def _keep(segment: MultipartSegment, data: bytes, fields: list[tuple[str, str]], files: list[Upload]) -> None:
    if segment.name is None:
        raise InvalidRequest("a part of the form has no name")
    if segment.filename is not None:
        files.append(Upload(segment.name, segment.filename, data))
    else:
        fields.append((segment.name, data.decode(segment.charset or "utf-8")))


def nested(fields: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Form fields as an object: `metadata[a]=b` nests, `list[]=x` collects; a plain name given twice is refused.

    Raises InvalidRequest.
    """
    root: dict[str, Any] = {}
    for name, value in fields:
        head, *rest = name.replace("]", "").split("[")
        place, key = root, head
        for part in rest:
            if part == "":
                break
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InvalidRequest(f"{name} is given both as a value and as an object", param=head)
            place, key = inner, part
        if rest and rest[-1] == "":
            place.setdefault(key, []).append(value)
        elif key in place:
            raise InvalidRequest(f"{name} is given more than once", param=head)
        else:
            place[key] = value
    return root
