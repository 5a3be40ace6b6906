"""Query parameters, read strictly: a misspelt filter must not list everything."""

from contextlib import suppress
from datetime import datetime
from urllib.parse import parse_qsl
from uuid import UUID

from gateway.edge.caller import HttpRequest
from gateway.errors import InvalidRequest, UnsupportedField

_FIELDS_MAX = 50


def query_of(request: HttpRequest, *names: str) -> dict[str, list[str]]:
    """The values of each parameter that was given; only `names` may be. Raises UnsupportedField, InvalidRequest."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise InvalidRequest("the query string could not be read; send name=value pairs in UTF-8, percent-encoded") from error
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in names:
            raise UnsupportedField(f"{name} is no parameter of this route; there are: {', '.join(names) or 'none'}", param=name)
        if "\x00" in value:
            raise InvalidRequest(f"{name} must not contain NUL", param=name)
        values.setdefault(name, []).append(value)
    return values


def single(values: dict[str, list[str]], name: str) -> str | None:
    """Raises InvalidRequest for a parameter that is given twice."""
    given = values.get(name, [])
    if len(given) > 1:
        raise InvalidRequest(f"{name} is given more than once", param=name)
    return given[0] if given else None


def integer(values: dict[str, list[str]], name: str, *, default: int, least: int, most: int) -> int:
    """Raises InvalidRequest."""
    text = single(values, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise InvalidRequest(f"{name} must be between {least} and {most}", param=name)
    return int(text)


def uuid_in(values: dict[str, list[str]], name: str) -> UUID | None:
    """Raises InvalidRequest."""
    text = single(values, name)
    if text is None:
        return None
    with suppress(ValueError):
        if str(found := UUID(text)) == text.lower():
            return found
    raise InvalidRequest(f"{name} must be an id such as 01a2147b-7fe1-725e-ae30-404b23db39d7", param=name)


def moment(values: dict[str, list[str]], name: str) -> datetime | None:
    """Raises InvalidRequest for one that does not say its offset from UTC."""
    text = single(values, name)
    if text is None:
        return None
    with suppress(ValueError):
        if (found := datetime.fromisoformat(text)).tzinfo is not None:
            return found
    raise InvalidRequest(f"{name} must be a moment with its offset, such as 2026-11-01T00:00:00Z", param=name)
