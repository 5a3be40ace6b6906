"""Periods in a customer's time zone, and how they fall into months, days and hours. Pure."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from billing.errors import ReportInvalid

Step = Literal["month", "day", "hour"]

QUARTER = timedelta(minutes=15)
"""Time zones differ from UTC by multiples of it, so a local midnight is never inside one."""
WIDTHS = (timedelta(hours=4), timedelta(hours=1), QUARTER)
"""The spans that usage is rolled up by; each is a multiple of the next."""
HOURS_MAX = 100 * 24
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MONTH = re.compile(r"\d{4}-\d\d")


class Period(msgspec.Struct, frozen=True):
    """`start ≤ t < end`, both in UTC; `zone` is where its days begin."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    @property
    def inner(self) -> tuple[datetime, datetime]:
        """The whole quarters of an hour inside; empty, at the end, where there are none."""
        first, last = _ceiling(self.start, QUARTER), _floor(self.end, QUARTER)
        return (first, last) if first < last else (self.end, self.end)


class Bucket(msgspec.Struct, frozen=True):
    """One month, day or hour of a report, as far as it is inside the period."""

    label: str
    start: datetime
    end: datetime


class Piece(msgspec.Struct, frozen=True):
    """A run of spans of one width that belongs to bucket number `n` (from 1)."""

    n: int
    width_s: int
    start: datetime
    end: datetime


def zone_of(name: str) -> ZoneInfo:
    """Raises ReportInvalid for a name that is not in the IANA time zone database."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ReportInvalid(f"there is no time zone {name!r}; write one such as Asia/Shanghai", "time_zone") from error


def period_of(start: str, end: str, zone: ZoneInfo) -> Period:
    """`2026-11-01` is that midnight in the zone; a time without an offset is local, too. Raises ReportInvalid."""
    period = Period(_instant("from", start, zone), _instant("to", end, zone), zone)
    if period.start >= period.end:
        raise ReportInvalid(f"from {start} is not before to {end}", "from")
    return period


def month_of(text: str, zone: ZoneInfo) -> Period:
    """`2026-11`: from its first midnight in the zone up to that of the next month. Raises ReportInvalid."""
    if not _MONTH.fullmatch(text):
        raise ReportInvalid(f"{text!r} is no month; write 2026-11", "month")
    try:
        first = date.fromisoformat(f"{text}-01")
        return Period(_midnight(first, zone), _midnight(_next_month(first), zone), zone)
    except (ValueError, OverflowError) as error:
        raise ReportInvalid(f"{text!r} is no month; write 2026-11", "month") from error


def buckets(period: Period, step: Step | None) -> list[Bucket]:
    """The period cut where a month, day or hour begins in its zone; uncut without `step`. Raises ReportInvalid.

    Where the clocks go back, the hour that comes twice is two hours, and its day has 25.
    """
    if step is None:
        return [Bucket("", period.start, period.end)]
    if step == "hour":
        if period.end - period.start > timedelta(hours=HOURS_MAX):
            raise ReportInvalid("a report by hour covers at most 100 days", "from")
        cuts = list(_hours(period))
    else:
        cuts = list(_days(period, whole_months=step == "month"))
    ends = [start for _, start in cuts[1:]] + [period.end]
    made = [Bucket(label, max(start, period.start), end) for (label, start), end in zip(cuts, ends, strict=True)]
    return [bucket for bucket in made if bucket.start < bucket.end]


def pieces(period: Period, cuts: Sequence[Bucket]) -> list[Piece]:
    """The fewest spans that make up the whole quarters of an hour of each bucket."""
    first, last = period.inner
    return [
        Piece(n, int(width.total_seconds()), start, end)
        for n, cut in enumerate(cuts, 1)
        for width, start, end in _spans(max(cut.start, first), min(cut.end, last), WIDTHS)
    ]


def _spans(start: datetime, end: datetime, widths: Sequence[timedelta]) -> Iterator[tuple[timedelta, datetime, datetime]]:
    if start >= end or not widths:
        return
    first, last = _ceiling(start, widths[0]), _floor(end, widths[0])
    if first >= last:
        yield from _spans(start, end, widths[1:])
        return
    yield from _spans(start, first, widths[1:])
    yield widths[0], first, last
    yield from _spans(last, end, widths[1:])


def _days(period: Period, *, whole_months: bool) -> Iterator[tuple[str, datetime]]:
    day = period.start.astimezone(period.zone).date()
    if whole_months:
        day = day.replace(day=1)
    while (start := _midnight(day, period.zone)) < period.end:
        yield day.isoformat()[: 7 if whole_months else 10], start
        day = _next_month(day) if whole_months else day + timedelta(days=1)


def _hours(period: Period) -> Iterator[tuple[str, datetime]]:
    at, before = _floor(period.start, QUARTER), None
    while at < period.end:
        local = at.astimezone(period.zone)
        hour = (local.date(), local.hour, local.utcoffset())
        if hour != before:
            yield local.replace(minute=0).isoformat(timespec="minutes"), at
        at, before = at + QUARTER, hour


def _instant(name: str, text: str, zone: ZoneInfo) -> datetime:
    try:
        if _DATE.fullmatch(text):
            return _midnight(date.fromisoformat(text), zone)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ReportInvalid(f"{name} {text!r} is no time; write 2026-11-01 or 2026-11-01T08:00:00+08:00", name) from error


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The day's first instant: where the clocks skip midnight, the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _floor(moment: datetime, width: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % width


def _ceiling(moment: datetime, width: timedelta) -> datetime:
    return moment + (_EPOCH - moment) % width
