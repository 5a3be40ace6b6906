"""Billing periods: half-open stretches of a customer's own calendar; pure.

A period begins with the first moment of a local day: it is an hour longer or shorter where clocks change. Only this module
cuts time; the database is handed moments.
"""

import calendar as months
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from billing.errors import UnknownTimeZone


class Every(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a period is: `count` days, weeks or months."""

    unit: Literal["day", "week", "month"]
    count: Annotated[int, msgspec.Meta(ge=1, le=366)] = 1


class Period(msgspec.Struct, frozen=True, order=True):
    """`[starts_at, ends_at)`, aware moments."""

    starts_at: datetime
    ends_at: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.starts_at <= at < self.ends_at

    @property
    def length_s(self) -> int:
        """Real seconds: 23 and 25 hours where clocks change."""
        return seconds_between(self.starts_at, self.ends_at)


class Calendar(msgspec.Struct, frozen=True):
    """The periods of `every` in `time_zone`, one of which begins on `anchor`.

    Months begin on the anchor's day, or on the last day where a month is shorter: 31 January, 28 February, 31 March.
    """

    every: Every
    time_zone: str
    anchor: date

    def containing(self, at: datetime) -> Period:
        """The one period that `at` (aware) lies in. Raises UnknownTimeZone."""
        zone = zone_of(self.time_zone)
        nth = self._guess(at.astimezone(zone).date())
        while at < self._begin(nth, zone):
            nth -= 1
        while at >= self._begin(nth + 1, zone):
            nth += 1
        return Period(self._begin(nth, zone), self._begin(nth + 1, zone))

    def next(self, period: Period) -> Period:
        return self.containing(period.ends_at)

    def previous(self, period: Period) -> Period:
        return self.containing(period.starts_at - timedelta(microseconds=1))

    def _guess(self, day: date) -> int:
        if self.every.unit == "month":
            return ((day.year - self.anchor.year) * 12 + day.month - self.anchor.month) // self.every.count
        return (day - self.anchor).days // (self.every.count * (7 if self.every.unit == "week" else 1))

    def _begin(self, nth: int, zone: ZoneInfo) -> datetime:
        if self.every.unit == "month":
            year, month = divmod(self.anchor.year * 12 + self.anchor.month - 1 + nth * self.every.count, 12)
            last = months.monthrange(year, month + 1)[1]
            return first_moment(date(year, month + 1, min(self.anchor.day, last)), zone)
        days = nth * self.every.count * (7 if self.every.unit == "week" else 1)
        return first_moment(self.anchor + timedelta(days=days), zone)


def zone_of(name: str) -> ZoneInfo:
    """Raises UnknownTimeZone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownTimeZone(repr(name)) from error


def first_moment(day: date, zone: ZoneInfo) -> datetime:
    """Where clocks skip midnight, the day begins when they have; where midnight comes twice, the first time."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def local_day(at: datetime, time_zone: str) -> date:
    """Raises UnknownTimeZone."""
    return at.astimezone(zone_of(time_zone)).date()


def seconds_between(earlier: datetime, later: datetime) -> int:
    """Whole seconds, rounded down."""
    return (later - earlier) // timedelta(seconds=1)
