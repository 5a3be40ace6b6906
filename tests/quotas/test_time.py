"""Quotas as time goes by, on a clock that the tests move."""

from datetime import UTC, datetime

import pytest

from billing.kit.query import Conn, Pool
from billing.plans.events import events_after
from gateway.quotas.alerts import tell_reached
from gateway.quotas.forget import forget_counters
from tests.billing.conftest import Clock
from tests.quotas.desk import Desk, open_desk, video


@pytest.fixture
async def berlin(clock: Clock, pool: Pool) -> Desk:
    await clock.set(datetime(2026, 3, 28, 22, 30, tzinfo=UTC))  # half an hour before the day of 23 hours
    return await open_desk(pool, name="berlin", time_zone="Europe/Berlin")


async def test_a_day_has_as_many_hours_as_clocks_say(clock: Clock, berlin: Desk) -> None:
    quota = await berlin.limit(limit=5_000)
    await berlin.admit()
    await clock.advance(minutes=29)
    await berlin.refused()
    await clock.advance(minutes=1)
    admitted = await berlin.admit()
    assert await berlin.counts(quota) == (0, 5000)
    await clock.advance(hours=22, minutes=59)
    error = await berlin.refused()
    assert error.quota is not None and error.quota.resets_at == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert "It resets at 2026-03-30T00:00:00+02:00." in error.message
    await clock.advance(minutes=1)
    assert await berlin.counts(quota) == (0, 0)
    await berlin.admit()
    await berlin.deliver(admitted.job_id, 5000)
    assert await berlin.counts(quota) == (0, 5000)  # the job of yesterday took nothing of today
    assert await berlin.findings() == []


async def test_a_rolling_window_lets_no_more_through_in_any_stretch(clock: Clock, berlin: Desk) -> None:
    quota = await berlin.limit(limit=2, meter="requests", per="minute", rolling=True)
    await clock.set(datetime(2026, 3, 28, 22, 30, 59, tzinfo=UTC))
    await berlin.admit()
    await clock.advance(seconds=30)
    await berlin.admit()
    await clock.advance(seconds=29)
    error = await berlin.refused()
    assert (error.retry, error.retry_after_s) == (None, 2)
    assert "in any minute" in error.message
    await clock.advance(seconds=2)
    await berlin.admit()
    assert await berlin.counts(quota) == (0, 2)
    await berlin.refused()
    assert await berlin.findings() == []


async def test_waiting_is_asked_for_only_where_it_helps_soon(clock: Clock, berlin: Desk) -> None:
    await berlin.limit("minute", meter="requests", per="minute", limit=1, scope="end_user", subject="a")
    await berlin.limit("day", meter="requests", per="day", limit=1, scope="end_user", subject="b")
    await berlin.limit("jobs", meter="concurrent_jobs", per=None, limit=1, scope="end_user", subject="c")
    await berlin.limit("small", meter="generated_ms", limit=4_999, scope="end_user", subject="d")
    for user in "abc":
        await berlin.admit(video(end_user=user))
    refusals = [await berlin.refused(video(end_user=user)) for user in "abcd"]
    assert [(one.retry, one.retry_after_s) for one in refusals] == [(None, 60), (False, 1800), (None, 5), (False, None)]
    assert refusals[1].headers == {"RateLimit-Policy": '"day";q=1;w=86400', "RateLimit": '"day";r=0;t=1800'}
    assert refusals[2].headers == {"RateLimit-Policy": '"jobs";q=1;qu="concurrent-requests"', "RateLimit": '"jobs";r=0'}
    assert refusals[3].message == (
        "The quota 'small' allows 4.999 s per day for the end user 'd'. 0 s are used, 0 s held for jobs that have not ended, and "
        "this request may take 5 s. This request alone exceeds it: ask for less, or have the quota raised."
    )


async def test_each_threshold_is_told_once_in_a_window(clock: Clock, berlin: Desk, database: Conn) -> None:
    await berlin.limit("soft", meter="requests", limit=5, soft=True, scope="end_user")
    for _ in range(3):
        await berlin.admit(video(end_user="ann"))
    assert await tell_reached(database) == 0
    await berlin.admit(video(end_user="ann"))
    assert await tell_reached(database) == 1
    for _ in range(3):
        await berlin.admit(video(end_user="ann"))
    assert (await tell_reached(database), await tell_reached(database)) == (1, 0)
    await clock.advance(hours=1)
    for _ in range(9):
        await berlin.admit(video(end_user="ann"))
    assert await tell_reached(database) == 2
    told = [event for event in await events_after(database, 0, customer_id=berlin.org_id) if event.kind == "quota.reached"]
    facts = [event.data for event in told]
    assert [b'"percent": 80' in bytes(data) or b'"percent":80' in bytes(data) for data in facts] == [True, False, True, False]
    assert all(b'"ann"' in bytes(data) for data in facts)


async def test_a_rolling_window_is_told_of_once_in_its_length(clock: Clock, berlin: Desk, database: Conn) -> None:
    await clock.set(datetime(2026, 3, 29, 22, 0, tzinfo=UTC))
    await berlin.limit("soft", meter="requests", limit=1, soft=True, per="hour", rolling=True)
    told = 0
    for _ in range(4):
        await berlin.admit()
        told += await tell_reached(database)
        await clock.advance(minutes=10)
    assert told == 2
    await clock.advance(minutes=30)
    await berlin.admit()
    assert await tell_reached(database) == 2


async def test_what_is_over_is_forgotten_once_it_was_told(clock: Clock, berlin: Desk, database: Conn) -> None:
    day = await berlin.limit("day", meter="requests", limit=1)
    jobs = await berlin.limit("jobs", meter="concurrent_jobs", per=None, limit=9)
    admitted = await berlin.admit()
    assert await forget_counters(database) == 0
    await clock.advance(hours=1)
    assert await forget_counters(database) == 0
    await tell_reached(database)
    assert await forget_counters(database) == 1
    assert await berlin.counts(jobs) == (0, 1)
    await berlin.deliver(admitted.job_id, 5000)
    assert await forget_counters(database) == 1
    assert (await berlin.counts(day), await berlin.counts(jobs)) == ((0, 0), (0, 0))
    assert await berlin.findings() == []
