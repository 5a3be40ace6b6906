"""Periods tile time: half-open, without gap or overlap, in any zone, across every change of clocks."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import UnknownTimeZone
from billing.plans.calendar import Calendar, Every, Period, first_moment, local_day

ZONES = (
    "UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo", "Asia/Beirut", "America/Asuncion", "Pacific/Chatham",
)  # fmt: skip
calendars = st.builds(
    Calendar,
    st.builds(Every, st.sampled_from(["day", "week", "month"]), st.integers(1, 14)),
    st.sampled_from(ZONES),
    st.dates(date(2005, 1, 1), date(2040, 12, 31)),
)
moments = st.datetimes(datetime(2006, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 – hypothesis adds the zone


@given(calendars, moments)
def test_periods_tile_time(calendar: Calendar, at: datetime) -> None:
    period = calendar.containing(at)
    assert at in period and period.starts_at < period.ends_at
    assert calendar.next(period).starts_at == period.ends_at
    assert calendar.previous(period).ends_at == period.starts_at
    assert calendar.previous(calendar.next(period)) == period
    assert calendar.containing(period.starts_at) == period
    assert calendar.containing(period.ends_at - timedelta(microseconds=1)) == period


@given(calendars, moments)
def test_a_period_begins_with_a_local_day(calendar: Calendar, at: datetime) -> None:
    zone = ZoneInfo(calendar.time_zone)
    begin = calendar.containing(at).starts_at
    assert (begin - timedelta(microseconds=1)).astimezone(zone).date() < begin.astimezone(zone).date()


@given(calendars)
def test_one_period_begins_on_the_anchor(calendar: Calendar) -> None:
    begin = first_moment(calendar.anchor, ZoneInfo(calendar.time_zone))
    assert calendar.containing(begin).starts_at == begin


@pytest.mark.parametrize("day,begins", [(29, [29, 29, 29, 29]), (30, [30, 29, 30, 30]), (31, [31, 29, 31, 30])])
def test_anchors_29_to_31_keep_their_day(day: int, begins: list[int]) -> None:
    calendar = Calendar(Every("month"), "Europe/Berlin", date(2024, 1, day))
    period = calendar.containing(datetime(2024, 1, 31, 12, tzinfo=UTC))
    found: list[int] = []
    for _ in begins:
        found.append(local_day(period.starts_at, "Europe/Berlin").day)
        period = calendar.next(period)
    assert found == begins


def test_months_are_as_long_as_their_clocks_say() -> None:
    calendar = Calendar(Every("month"), "Europe/Berlin", date(2026, 1, 1))
    march = calendar.containing(datetime(2026, 3, 15, tzinfo=UTC))
    october = calendar.containing(datetime(2026, 10, 15, tzinfo=UTC))
    assert march.length_s == 31 * 86_400 - 3600
    assert october.length_s == 31 * 86_400 + 3600
    assert march == Period(datetime(2026, 2, 28, 23, tzinfo=UTC), datetime(2026, 3, 31, 22, tzinfo=UTC))


def test_a_day_that_clocks_skip_is_no_period() -> None:
    calendar = Calendar(Every("day"), "Pacific/Apia", date(2011, 12, 1))
    day = calendar.containing(datetime(2011, 12, 29, 20, tzinfo=UTC))
    assert local_day(day.starts_at, "Pacific/Apia") == date(2011, 12, 29)
    assert local_day(calendar.next(day).starts_at, "Pacific/Apia") == date(2011, 12, 31)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "UTC\0"])
def test_a_time_zone_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(UnknownTimeZone) as refused:
        Calendar(Every("month"), name, date(2026, 1, 1)).containing(datetime(2026, 1, 1, tzinfo=UTC))
    assert repr(name) in str(refused.value)
