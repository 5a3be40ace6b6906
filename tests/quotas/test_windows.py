"""Windows: where a moment is counted, and until when; across changes of clocks."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quotas.model import PARTS, Per, Span, span, window_s

ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns")
moments = st.datetimes(datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2030-01-01"), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


CALENDAR: list[tuple[Any, ...]] = [
    # per, zone, the moment, the window it lies in
    ("minute", "UTC", "2026-01-01T10:20:30Z", "2026-01-01T10:20:00Z", "2026-01-01T10:21:00Z"),
    ("hour", "Asia/Kolkata", "2026-01-01T10:20:30Z", "2026-01-01T09:30:00Z", "2026-01-01T10:30:00Z"),
    ("hour", "Europe/Berlin", "2026-10-25T00:59:59Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),  # 02:59 summer time …
    ("hour", "Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),  # … and the second 02:00
    ("day", "Asia/Shanghai", "2026-01-01T15:59:59Z", "2025-12-31T16:00:00Z", "2026-01-01T16:00:00Z"),
    ("day", "Asia/Shanghai", "2026-01-01T16:00:00Z", "2026-01-01T16:00:00Z", "2026-01-02T16:00:00Z"),
    ("day", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
    ("day", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),  # 25 hours
    ("week", "UTC", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),  # a Sunday
    ("month", "America/New_York", "2026-03-01T04:59:59Z", "2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z"),
    ("month", "America/New_York", "2026-03-31T12:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"),
]


@pytest.mark.parametrize("per, zone, moment, begin, end", CALENDAR)
def test_a_calendar_window_is_the_customers_own(per: Per, zone: str, moment: str, begin: str, end: str) -> None:
    assert span(per, at(moment), zone, rolling=False) == Span(at(begin), at(end))


@given(per=st.sampled_from(get_args(Per)), zone=st.sampled_from(ZONES), moment=moments)
def test_calendar_windows_tile_time(per: Per, zone: str, moment: datetime) -> None:
    here = span(per, moment, zone, rolling=False)
    assert here.starts_at <= moment < here.counts_until
    assert span(per, here.starts_at, zone, rolling=False) == here
    assert span(per, here.counts_until - timedelta(microseconds=1), zone, rolling=False) == here
    assert span(per, here.counts_until, zone, rolling=False).starts_at == here.counts_until
    local = here.starts_at.astimezone(ZoneInfo(zone))
    assert (local.minute, local.second) == (0, 0) or per == "minute"


@given(per=st.sampled_from(get_args(Per)), zone=st.sampled_from(ZONES), moment=moments)
def test_what_is_taken_leaves_a_rolling_window_late_by_a_part_at_most_and_never_early(
    per: Per, zone: str, moment: datetime
) -> None:
    here, length = span(per, moment, zone, rolling=True), timedelta(seconds=window_s(per))
    assert moment + length < here.counts_until <= moment + length + length / PARTS
    assert here.starts_at <= moment


def test_what_runs_at_the_same_time_has_no_window() -> None:
    first, last = (span(None, at(moment), "UTC", rolling=False) for moment in ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"))
    assert first == last
