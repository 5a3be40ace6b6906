"""Billing periods and roundings, found by counting."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from math import ceil, floor
from typing import Any
from zoneinfo import ZoneInfo

QUARTER = timedelta(minutes=15)


@cache
def dawn(day: date, zone: str) -> datetime:
    """The first moment that is on this day there: looks at every quarter of an hour."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while at.astimezone(ZoneInfo(zone)).date() < day:
        at += QUARTER
    return at


def local_day(at: datetime, zone: str) -> date:
    return at.astimezone(ZoneInfo(zone)).date()


def begins(every: Any, zone: str, anchor: date, nth: int) -> datetime:
    """When the nth period from the anchor begins."""
    if every.unit != "month":
        return dawn(anchor + timedelta(days=nth * every.count * (7 if every.unit == "week" else 1)), zone)
    month = anchor.month - 1 + nth * every.count
    year, month = anchor.year + month // 12, month % 12 + 1
    for day in range(anchor.day, 0, -1):
        try:
            return dawn(date(year, month, day), zone)
        except ValueError:  # the month is shorter
            continue
    raise AssertionError(anchor)


def period_at(every: Any, zone: str, anchor: date, at: datetime) -> tuple[datetime, datetime]:
    nth = 0
    while begins(every, zone, anchor, nth) > at:
        nth -= 1
    while begins(every, zone, anchor, nth + 1) <= at:
        nth += 1
    return begins(every, zone, anchor, nth), begins(every, zone, anchor, nth + 1)


def half_up(value: Fraction) -> int:
    """Half away from zero."""
    return floor(value + Fraction(1, 2)) if value >= 0 else ceil(value - Fraction(1, 2))


def later_part(total: int, before_s: int, after_s: int) -> int:
    """The part of `total` for the second stretch of time; a half goes to the first."""
    return ceil(Fraction(total * after_s, before_s + after_s) - Fraction(1, 2))
