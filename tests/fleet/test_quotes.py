"""What API processes promise from the leader's curve: together never more than it has room for, and nothing without a leader."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.kit.ids import new_id
from billing.kit.query import Pool
from gateway.fleet.policy.model import Fleet, ModelSpec, PoolSpec, Queued, Quote, ReplicaSpec, SpeedSpec
from gateway.fleet.policy.parameters import DEFAULT
from gateway.fleet.policy.scheduler import Scheduler
from gateway.fleet.promises.publish import begin_term, keep, publish
from gateway.fleet.promises.quotes import Promise, Quotes
from gateway.jobs.waiting.inbox import database_time
from gateway.video import VideoRequest

ORGS = [UUID(int=n) for n in range(1, 200)]
REQUEST = VideoRequest(
    model="film", prompt="a lamp", width=1280, height=720, fps=16, frames=80, resolution="720p", ratio="16:9", steps=30,
    guidance=5.0, queue_deadline_s=3600,
)  # fmt: skip


class Leader:
    """A scheduler of eight slots, on each of which a job of `REQUEST` runs for 50 s; it publishes when it is told to."""

    def __init__(self, pool: Pool, term: int, now: float) -> None:
        self.pool, self.term = pool, term
        fleet = Fleet([ModelSpec("film", 10, 60.0)], [PoolSpec("h100", 80, 2_700_000)], [SpeedSpec("film", "720p", "h100", 10.0)])
        self.scheduler = Scheduler(fleet, now)
        for n in range(8):
            self.scheduler.replica_up(ReplicaSpec(f"r{n}", "h100", 1, ("film",)), now)
        self.scheduler.tick(now)

    async def publish(self, *, read_at: float | None = None) -> None:
        async with self.pool.acquire() as conn:
            now = await database_time(conn)
            self.scheduler.state.redraw(now)
            await publish(conn, self.term, self.scheduler.publish(0, now), read_at=now if read_at is None else read_at)

    async def room(self) -> int:
        """How many more starts within the target it would promise itself now, one after the other."""
        async with self.pool.acquire() as conn:
            now = await database_time(conn)
        self.scheduler.state.redraw(now)
        count, target_s = 0, DEFAULT.target_s[1]
        while self.scheduler.quote(str(count), "film", "720p", 5.0, "standard", now).start_s == target_s:
            self.scheduler.submit(Queued(count, str(count), "film", "720p", 5.0, "standard", now, now + target_s))
            count += 1
        for job in range(count):
            self.scheduler.cancel(job)
        return count

    def admitted(self, promise: Promise, now: float) -> None:
        self.scheduler.submit(
            Queued(new_id().bytes, promise.wanted.organization, "film", "720p", 5.0, "standard", now, promise.due_at)
        )


@pytest.fixture
async def leader(pool: Pool) -> Leader:
    async with pool.acquire() as conn:
        term, _ = await begin_term(conn)
        return Leader(pool, term, await database_time(conn))


@asynccontextmanager
async def processes(leader: Leader, count: int) -> AsyncGenerator[list[Quotes]]:
    """API processes that the leader has counted."""
    async with AsyncExitStack() as stack:
        made = [Quotes(leader.pool, {"film": 30}, stale_s=0.5) for _ in range(count)]
        for one in made:
            await stack.enter_async_context(one.following())
        async with asyncio.timeout(20):
            while not all(quoted(one) for one in made):
                await leader.publish()
                await asyncio.sleep(0.05)
        yield made


def quoted(one: Quotes, **changes: Any) -> Quote | None:
    return one.quote(ORGS[0], msgspec.structs.replace(REQUEST, **changes), "standard", livemode=True)


def promised(one: Quotes, most: int) -> list[Promise]:
    """As many starts within the target as it gives to a hundred organizations, one after the other."""
    made: list[Promise] = []
    for n in range(most):
        promise = one.promise(ORGS[n % len(ORGS)], REQUEST, livemode=True)
        if promise is None or promise.start_s > DEFAULT.target_s[1]:
            break
        made.append(promise)
    return made


async def test_nobody_promises_without_a_leader(pool: Pool) -> None:
    alone = Quotes(pool, {})
    async with pool.acquire() as conn:
        await alone.read(conn)
    assert quoted(alone) is None and alone.promise(ORGS[0], REQUEST, livemode=True) is None


async def test_a_quote_says_when_and_how_sure(leader: Leader) -> None:
    async with processes(leader, 1) as (one,):
        now = quoted(one)
        assert now is not None
        assert (now.start_s, now.confidence) == (DEFAULT.target_s[1], "catalogue")
        assert 45 < now.runtime_s < 60 < now.runtime_high_s
        twice = quoted(one, steps=60)
        assert twice is not None and twice.runtime_s == pytest.approx(2 * now.runtime_s)
        assert quoted(one, model="unheard of") is None
        assert one.quote(ORGS[0], REQUEST, "standard", livemode=False) is None  # test jobs run on the test card


@pytest.mark.parametrize("count", [1, 4])
async def test_all_processes_together_promise_no_more_than_one_would_and_a_job_each(leader: Leader, count: int) -> None:
    async with processes(leader, count) as many:
        before = await leader.room()
        made = sum(len(promised(one, 1_000)) for one in many)
        after = await leader.room()  # a slow machine lets time pass, and time is room
    assert 20 < before <= after < 200
    assert 0.9 * before <= made <= after + count


async def test_what_was_promised_is_not_promised_again_before_the_leader_has_seen_it(leader: Leader, pool: Pool) -> None:
    async with processes(leader, 1) as (one,):
        made = promised(one, 1_000)
        async with pool.acquire() as conn:
            before = await database_time(conn)
            one.settled(made)
            await leader.publish(read_at=before - 1.0)  # read before the admissions had committed
            await one.read(conn)
            assert promised(one, 1_000) == []
            for promise in made:
                leader.admitted(promise, before)
            await leader.publish(read_at=before + 5.0)
            await one.read(conn)
        more = promised(one, 1_000)
        empty = Leader(pool, leader.term, before)  # as large, and with nothing in it: by now it has a little more room than then
        assert len(made) + len(more) <= await empty.room() + 1


async def test_what_was_not_written_after_all_is_free_again(leader: Leader, pool: Pool) -> None:
    async with processes(leader, 1) as (one,):
        made = promised(one, 1_000)
        one.settled(made)
        async with pool.acquire() as conn:
            await leader.publish(read_at=await database_time(conn) + 5.0)
            await one.read(conn)
        assert len(promised(one, 1_000)) >= len(made) - 1


async def test_a_process_that_is_not_counted_promises_nothing(leader: Leader, pool: Pool) -> None:
    late = Quotes(pool, {})
    await leader.publish()
    async with pool.acquire() as conn:
        await late.read(conn)
    assert quoted(late) is None


async def test_a_leader_that_was_replaced_is_not_heard(leader: Leader, pool: Pool) -> None:
    async with processes(leader, 1) as (one,), pool.acquire() as conn:
        term, _ = await begin_term(conn)
        await leader.publish()
        assert await conn.fetchval("SELECT curve FROM gateway.demand_curve") is None
        successor = Leader(pool, term, await database_time(conn))
        await successor.publish()
        await one.read(conn)
        assert await conn.fetchval("SELECT curve FROM gateway.demand_curve") is not None and quoted(one) is not None


async def test_the_next_leader_remembers(leader: Leader, pool: Pool) -> None:
    async with pool.acquire() as conn:
        await keep(conn, leader.term, leader.scheduler.remember())
        term, memory = await begin_term(conn)
        assert term == leader.term + 1 and memory == leader.scheduler.remember()
        await conn.execute("UPDATE gateway.demand_curve SET memory = 'of another version'")
        assert (await begin_term(conn))[1] is None
