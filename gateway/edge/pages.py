"""Lists in pages, newest first, for what has a UUIDv7: the cursor is the last one's id."""

import re
from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar
from uuid import UUID

from msgspec import Meta

from gateway.edge.described import Parameter, between
from gateway.edge.query import integer, single
from gateway.errors import InvalidRequest, NotFound

PAGE_DEFAULT, PAGE_MAX = 20, 100
_CURSOR = re.compile("[0-9a-f]{32}")
PAGE = (
    Parameter("limit", f"1 to {PAGE_MAX}, {PAGE_DEFAULT} if not given.", between(1, PAGE_MAX)),
    Parameter("cursor", "The `next_cursor` of the page before.", Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]),
)
"""What every list takes."""


class _Identified(Protocol):
    @property
    def id(self) -> UUID: ...


Row = TypeVar("Row", bound=_Identified)


def page_of(values: dict[str, list[str]]) -> tuple[int, UUID | None]:
    """How many rows, and after which id. Read one more than that: it tells whether there is another page.

    Raises InvalidRequest.
    """
    limit, cursor = integer(values, "limit", default=PAGE_DEFAULT, least=1, most=PAGE_MAX), single(values, "cursor")
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise InvalidRequest("cursor must be the next_cursor of a page of this list", param="cursor")
    return limit, None if cursor is None else UUID(hex=cursor)


def cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], str | None]:
    """The page, and the cursor of the next one if there is one."""
    page = rows[:limit]
    return page, page[-1].id.hex if len(rows) > limit else None


def uuid_of(text: str) -> UUID:
    """Raises NotFound for anything that is no id: it names nothing."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound from error
