"""Request bodies, read under limits and refused with a sentence. Nothing is buffered beyond the limit."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser
from multipart import parse_options_header as parse_options  # pyright: ignore[reportUnknownVariableType] its arguments are untyped

from gateway.edge.caller import HttpRequest, gateway_of, header
from gateway.errors import InvalidRequest, TooLarge, UnsupportedContent, UnsupportedField

Body = TypeVar("Body")

FIELD_MAX_BYTES = 1 << 20
PARTS_MAX = 64
UTF8 = ("utf-8", "utf8", "us-ascii")
IGNORED_MAX = 32
"""A lenient key may send this many fields that are not supported; one more is a mistake, not a difference of dialect."""

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")


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
    given = header(request, b"content-type") or ""
    if given == "application/json":  # nearly always: nothing to parse
        return given, {}
    kind, options = cast("tuple[str, dict[str, str]]", parse_options(given))
    if options.get("charset", "utf-8").lower() not in UTF8:
        raise UnsupportedContent
    return kind.lower(), options


class _Incoming:
    """A body on its way in. Raises TooLarge as soon as the declared or received size passes the limit."""

    def __init__(self, request: HttpRequest, limit_bytes: int) -> None:
        self._request, self._limit_bytes, self._received = request, limit_bytes, 0
        self.more = True
        declared = header(request, b"content-length") or ""
        if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit_bytes):
            raise TooLarge(f"the body may have at most {limit_bytes} bytes")

    async def next(self) -> bytes:
        """The next piece, which may be empty. Raises InvalidRequest when the client goes away."""
        message = await self._request.receive()
        if message["type"] != "http.request":
            raise InvalidRequest("the connection was closed before the body was complete")
        chunk, self.more = message.get("body", b""), message.get("more_body", False)
        self._received += len(chunk)
        if self._received > self._limit_bytes:
            raise TooLarge(f"the body may have at most {self._limit_bytes} bytes")
        return chunk


async def read_body(request: HttpRequest, limit_bytes: int) -> bytes:
    """Raises TooLarge, InvalidRequest."""
    incoming = _Incoming(request, limit_bytes)
    chunks = [await incoming.next()]
    while incoming.more:
        chunks.append(await incoming.next())
    return b"".join(chunks)


async def read_json(request: HttpRequest, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decodes a JSON body. Raises UnsupportedContent, TooLarge, UnsupportedField or InvalidRequest naming the field.

    With a decoder of `Any` it returns what `decode_lenient` takes.
    """
    kind, _ = content_type(request)
    if kind not in ("application/json", "") and not kind.endswith("+json"):
        raise UnsupportedContent
    return decode_json(await read_body(request, gateway_of(request).settings.json_body_max_bytes), decoder)


def decode_json(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Raises UnsupportedField or InvalidRequest naming the field."""
    try:
        decoded = decoder.decode(body)
        if b"\\u0000" in body or b"\0" in body:
            _refuse_nul(msgspec.json.decode(body))
        return decoded
    except msgspec.ValidationError as error:
        raise refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deeply") from error


def _refuse_nul(value: object, path: str = "") -> None:
    """PostgreSQL keeps every character but this one. Raises InvalidRequest."""
    match value:
        case str() if "\0" in value:
            raise InvalidRequest(f"{path or 'the body'} must not contain NUL", param=path or None)
        case dict():
            for name, inner in cast("dict[str, object]", value).items():
                _refuse_nul(name, path)
                _refuse_nul(inner, f"{path}.{name}" if path else name)
        case list():
            for nth, inner in enumerate(cast("list[object]", value)):
                _refuse_nul(inner, f"{path}[{nth}]")
        case _:
            pass


def convert(value: object, kind: type[Body], *, strict: bool) -> Body:
    """Checks a decoded value against a struct. Raises UnsupportedField or InvalidRequest naming the field."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(error) from error


def decode_lenient(raw: object, kind: type[Body], *, strict: bool = True) -> tuple[Body, list[str]]:
    """For a lenient key: drops unsupported fields from `raw`, in place, and returns what is left and their names.

    `raw` is decoded JSON or a nested form. Raises InvalidRequest, and UnsupportedField beyond IGNORED_MAX.
    """
    ignored: list[str] = []
    while True:
        try:
            return msgspec.convert(raw, kind, strict=strict), ignored
        except msgspec.ValidationError as error:
            refused = refusal(error)
            if not isinstance(refused, UnsupportedField) or len(ignored) == IGNORED_MAX or not _drop(raw, str(error)):
                raise refused from error
            ignored.append(refused.param or "")


def _drop(raw: object, sentence: str) -> bool:
    """Removes the field that a sentence of msgspec is about; False where the sentence does not lead to it."""
    found = _UNKNOWN.fullmatch(sentence)
    if found is None:
        return False
    holder = raw
    for name, index in _STEP.findall(found["path"] or ""):
        match holder:
            case dict() if name:
                holder = cast("dict[str, object]", holder).get(name)
            case list() if index and int(index) < len(cast("list[object]", holder)):
                holder = cast("list[object]", holder)[int(index)]
            case _:
                return False
    return isinstance(holder, dict) and cast("dict[str, object]", holder).pop(found["name"], _UNKNOWN) is not _UNKNOWN


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """`x-ignored-fields`, percent-encoded where a name would not be safe in a header; empty where nothing was ignored."""
    return {"x-ignored-fields": ", ".join(quote(name[:100], safe="[].$:") for name in names)} if names else {}


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
        parser = PushMultipartParser(options.get("boundary", ""), max_segment_count=PARTS_MAX)
        segment: MultipartSegment | None = None
        data = bytearray()
        incoming = _Incoming(request, limit)
        while incoming.more:
            chunk = await incoming.next()
            for event in parser.parse(chunk) if chunk else ():  # an empty one would end the form
                if isinstance(event, MultipartSegment):
                    segment, data = event, bytearray()
                elif event:
                    data += event
                    if segment is not None and segment.filename is None and len(data) > FIELD_MAX_BYTES:
                        raise TooLarge(f"{segment.name}: a field may have at most {FIELD_MAX_BYTES} bytes")
                elif segment is not None:
                    _keep(segment, bytes(data), fields, files)
        parser.close()  # raises when the closing boundary did not come
    except (MultipartError, UnicodeDecodeError, LookupError) as error:
        raise InvalidRequest(f"the form could not be read: {error}") from error
    return Form(tuple(fields), tuple(files))


def _keep(segment: MultipartSegment, data: bytes, fields: list[tuple[str, str]], files: list[Upload]) -> None:
    if segment.name is None:
        raise InvalidRequest("a part of the form has no name")
    if segment.filename is not None:
        files.append(Upload(segment.name, segment.filename, data))
    else:
        if (segment.charset or "utf-8").lower() not in UTF8:  # also because some of Python's codecs take quadratic time
            raise InvalidRequest(f"{segment.name}: fields must be in UTF-8", param=segment.name)
        if b"\0" in data or "\0" in segment.name:
            raise InvalidRequest(f"{segment.name}: a field must not contain NUL", param=segment.name)
        fields.append((segment.name, data.decode()))


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
            place, key = cast("dict[str, Any]", inner), part
        if rest and rest[-1] == "":
            values = place.setdefault(key, [])
            if not isinstance(values, list):
                raise InvalidRequest(f"{name} is given both as a value and as a list", param=head)
            cast("list[str]", values).append(value)
        elif key in place:
            raise InvalidRequest(f"{name} is given more than once", param=head)
        else:
            place[key] = value
    return root
