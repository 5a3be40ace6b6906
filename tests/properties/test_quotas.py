"""Random lives of an organization's quotas against a model that knows nothing of counters: only what was taken, when and by whom."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from billing.kit.pool import open_pool
from billing.kit.query import Pool
from gateway.quotas.alerts import tell_reached
from gateway.quotas.define import QuotaChange, change_quota, delete_quota, lock_quota
from gateway.quotas.forget import forget_counters
from gateway.quotas.model import PARTS, Quota, window_s
from gateway.submission import Admitted
from tests.billing.conftest import Clock
from tests.quotas.desk import Desk, open_desk, video

EXAMPLES = int(os.environ.get("TALLYLIGHT_TEST_QUOTA_LIVES", "6"))
STEPS = 20
ZONE = "Europe/Berlin"
DAWN = datetime(2026, 10, 24, 20, tzinfo=UTC)
"""Two hours before the day of 25 hours."""
USERS = (None, "ann", "bob")
MODELS = ("testcard", "lamp")
asks = st.tuples(st.integers(1, 6), st.sampled_from(MODELS), st.sampled_from(USERS), st.booleans())
UNITS = {"generated_ms": 1000, "money_micro": 1_000_000}
QUOTAS = st.fixed_dictionaries(
    {
        "scope": st.sampled_from(["organization", "key", "model", "end_user"]),
        "meter": st.sampled_from(["generated_ms", "money_micro", "requests", "concurrent_jobs"]),
        "per": st.sampled_from(["minute", "hour", "day", "week", "month"]),
        "rolling": st.booleans(),
        "soft": st.sampled_from([False, False, False, True]),
        "named": st.booleans(),
        "limit": st.integers(0, 12),
    }
)
steps_s = st.sampled_from([1, 7, 30, 59, 61, 600, 3599, 3600, 7200, 86_399, 86_400, 7 * 86_400, 31 * 86_400])


class Job(msgspec.Struct):
    """What the model knows of a job: what each meter counts of it now, and against which quotas it was counted."""

    id: UUID
    at: datetime
    model: str
    user: str | None
    other: bool
    takes: dict[str, int]
    counted_by: set[UUID]
    live: bool = True


def begins(per: str, at: datetime) -> datetime:
    """When the calendar window of `at` began, from the wall clock alone."""
    local = at.astimezone(ZoneInfo(ZONE))
    if per in ("minute", "hour"):  # the zone's hours are those of UTC
        return at.replace(minute=0 if per == "hour" else at.minute, second=0, microsecond=0)
    day = local.date()
    if per == "week":
        day -= timedelta(days=day.weekday())
    if per == "month":
        day = day.replace(day=1)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


class Lives(RuleBasedStateMachine):
    """One organization, its quotas and its jobs, on a clock that the test moves."""

    pool: ClassVar[Pool]
    runner: ClassVar[asyncio.Runner]
    clock: ClassVar[Clock]
    count: ClassVar[int] = 0

    @initialize(first=st.lists(QUOTAS, min_size=1, max_size=3))
    def opened(self, first: list[dict[str, Any]]) -> None:
        type(self).count += 1

        async def start() -> Desk:
            await self.clock.set(DAWN)
            return await open_desk(self.pool, name=f"org {self.count}", time_zone=ZONE)

        self.desk = self.run(start())
        self.quotas: list[Quota] = []
        self.jobs: list[Job] = []
        self.made = 0
        for wanted in first:
            self.sets_a_quota(wanted)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    # -- the model -----------------------------------------------------------------------------------------------------
    def concerns(self, quota: Quota, job: Job) -> bool:
        caller = self.desk.other if job.other else self.desk.caller
        subject = {"organization": "", "key": str(caller.key_id), "model": job.model, "end_user": job.user}[quota.scope]
        return subject is not None and quota.subject in ("", subject)

    def rivals(self, quota: Quota, job: Job) -> list[Job]:
        """Jobs that count against the same quota for the same subject."""

        def whom(one: Job) -> Any:
            return {"organization": "", "key": one.other, "model": one.model, "end_user": one.user}[quota.scope]

        return [one for one in self.jobs if quota.id in one.counted_by and whom(one) == whom(job)]

    def taken(self, quota: Quota, job: Job, *, least: bool) -> int:
        """What counts now: exactly, or for a rolling window the least and the most that may."""
        found = self.rivals(quota, job)
        if quota.per is None:
            return sum(one.live for one in found)
        if quota.rolling:
            length = timedelta(seconds=window_s(quota.per))
            since = job.at - length - (timedelta() if least else length / PARTS)
            return sum(
                one.takes[quota.meter] for one in found if one.at >= since + (timedelta(microseconds=1) if least else timedelta())
            )
        return sum(one.takes[quota.meter] for one in found if one.at >= begins(quota.per, job.at))

    def fits(self, job: Job, *, least: bool) -> bool:
        return all(
            self.taken(quota, job, least=least) + job.takes.get(quota.meter, 1) <= quota.most
            for quota in self.quotas
            if self.concerns(quota, job) and not quota.soft
        )

    # -- what happens --------------------------------------------------------------------------------------------------
    @rule(wanted=QUOTAS)
    def sets_a_quota(self, wanted: dict[str, Any]) -> None:
        self.made += 1
        said = {**wanted, "limit": wanted["limit"] * UNITS.get(wanted["meter"], 1)}
        said["subject"] = {"key": str(self.desk.caller.key_id), "model": "lamp", "end_user": "ann"}.get(said["scope"])
        if not said.pop("named"):
            del said["subject"]
        if said["meter"] == "concurrent_jobs":
            said |= {"per": None, "rolling": False}
        self.quotas.append(self.run(self.desk.limit(f"q{self.made}", **said)))

    @precondition(lambda self: self.quotas)
    @rule(data=st.data(), units=st.integers(0, 12))
    def changes_a_limit(self, data: Any, units: int) -> None:
        index = data.draw(st.integers(0, len(self.quotas) - 1))
        quota = self.quotas[index]
        unit = UNITS.get(quota.meter, 1)

        async def change() -> Quota:
            async with self.pool.acquire() as conn, conn.transaction():
                return await change_quota(conn, await lock_quota(conn, quota.org_id, quota.id), QuotaChange(limit=units * unit))

        self.quotas[index] = self.run(change())

    @precondition(lambda self: self.quotas)
    @rule(data=st.data())
    def drops_a_quota(self, data: Any) -> None:
        quota = self.quotas.pop(data.draw(st.integers(0, len(self.quotas) - 1)))

        async def remove() -> None:
            async with self.pool.acquire() as conn, conn.transaction():
                await delete_quota(conn, await lock_quota(conn, quota.org_id, quota.id))

        self.run(remove())

    @rule(wanted=st.lists(asks, min_size=1, max_size=6), again=st.booleans())
    def asks_for_videos(self, wanted: list[tuple[int, str, str | None, bool]], again: bool) -> None:
        callers = {False: self.desk.caller, True: self.desk.other}
        batch = [
            self.desk.ask(video(seconds=seconds, model=model, end_user=user), caller=callers[other])
            for seconds, model, user, other in wanted
        ]
        flush = self.desk.admission._flush

        async def flown() -> list[Any]:
            """In one flight, as the coalescer sends a batch again."""
            first = await flush(batch)
            assert not again or [type(one) for one in await flush(batch)] == [type(one) for one in first]
            return list(first)

        outcomes = self.run(flown())
        for ask, (seconds, model, user, other), outcome in zip(batch, wanted, outcomes, strict=True):
            takes = {"generated_ms": seconds * 1000, "money_micro": seconds * 1_000_000, "requests": 1}
            job = Job(ask.job_id, self.clock.at, model, user, other, takes, set())
            admitted = isinstance(outcome, Admitted)
            assert self.fits(job, least=True) or not admitted, "more was let through than a quota allows"
            assert admitted or not self.fits(job, least=False), "something was refused that every quota had room for"
            if admitted:
                job.counted_by = {quota.id for quota in self.quotas if self.concerns(quota, job)}
                self.jobs.append(job)

    @precondition(lambda self: any(job.live for job in self.jobs))
    @rule(data=st.data(), end=st.sampled_from(["cancel", "fail", "deliver", "deliver"]), part=st.integers(1, 10))
    def ends_a_job(self, data: Any, end: str, part: int) -> None:
        job = data.draw(st.sampled_from([one for one in self.jobs if one.live]))
        job.live = False
        if end == "deliver":
            delivered_ms = max(job.takes["generated_ms"] * part // 10, 1)
            self.run(self.desk.deliver(job.id, delivered_ms))
            job.takes |= {"generated_ms": delivered_ms, "money_micro": delivered_ms * 1000}
        else:
            self.run(getattr(self.desk, end)(job.id))
            job.takes = dict.fromkeys(job.takes, 0)

    @rule(seconds=steps_s)
    def time_goes_by(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds=seconds))

    @rule()
    def a_clerk_comes_by(self) -> None:
        async def work() -> None:
            async with self.pool.acquire() as conn, conn.transaction():
                await tell_reached(conn)
                await forget_counters(conn)

        self.run(work())

    def teardown(self) -> None:
        assert self.run(self.desk.findings()) == []


@pytest.fixture
def lives(module_dsn: str) -> Iterator[type[Lives]]:
    """The machine on a database of its own."""

    async def open_up() -> tuple[Pool, Clock]:
        pool = await open_pool(module_dsn, name="tests", size_max=4)
        clock = Clock(await pool.acquire())
        await clock.install()
        return pool, clock

    with asyncio.Runner() as runner:
        pool, clock = runner.run(open_up())
        try:
            yield type("Lives", (Lives,), {"pool": pool, "runner": runner, "clock": clock})
        finally:
            pool.terminate()


def test_every_life_keeps_to_its_quotas(lives: type[Lives]) -> None:
    dose = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
    run_state_machine_as_test(lives, settings=dose)
