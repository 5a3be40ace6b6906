"""From a figure to its jobs: the usage rows it is the sum of."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from billing.errors import ReportInvalid
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.arguments import of_series, plan_with_values
from billing.reports.model import Ask, JobLine

LIMIT_MAX = 1000
_CURSOR = struct.Struct(">q16s16s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Page(msgspec.Struct, frozen=True):
    """Rows in the order they were recorded; `next` is the cursor of what follows, None at the end."""

    rows: list[JobLine]
    next: str | None


async def jobs(conn: Conn, want: Ask, *, limit: int, cursor: str | None = None) -> Page:
    """The usage rows of the period that `want` lets through; groups do not matter. Raises ReportInvalid for a bad cursor."""
    await plan_with_values(conn)
    rows = await sql.JOBS.all(conn, *jobs_arguments(want, limit + 1, cursor))
    more = len(rows) > limit
    return Page(rows[:limit], _cursor(rows[limit - 1]) if more else None)


def jobs_arguments(want: Ask, limit: int | None, cursor: str | None = None) -> tuple[object, ...]:
    """Raises ReportInvalid."""
    if cursor is None:
        start, after = want.period.start, (want.period.start - _TICK, UUID(int=0), UUID(int=0))
    else:
        after = _after(cursor)
        start = max(want.period.start, after[0])
    return (*of_series(want), start, want.period.end, *after, limit)


def _cursor(row: JobLine) -> str:
    packed = _CURSOR.pack((row.at - _EPOCH) // _TICK, row.subject.bytes, row.series.bytes)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _after(cursor: str) -> tuple[datetime, UUID, UUID]:
    try:
        at_us, subject, series = _CURSOR.unpack(base64.urlsafe_b64decode(cursor + "=="))
        return _EPOCH + at_us * _TICK, UUID(bytes=subject), UUID(bytes=series)
    except (binascii.Error, struct.error, OverflowError, ValueError) as error:
        raise ReportInvalid("this cursor is not one that a page gave; leave it out to begin anew", "cursor") from error
