"""A Triton that goes silent: the attempt is given up within a bound, the job runs elsewhere, and it is charged once or not at all.

Both replicas lead to one real server. The way to the first goes dead when the test says so; the second is reachable from then on.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from billing.kit.query import Pool
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.proxy import Proxy, proxied
from tests.faults.workshop import SOON_S, Triton, Workshop, open_workshop

FRAMES, STALL_S = 16, 1.0
CHARGE_MICRO = RATE_MICRO
GIVEN_UP_WITHIN_S = 5.0
REQUEST, PROGRESS = b"negative_prompt", b"progress"


@asynccontextmanager
async def two_ways(pool: Pool, dsn: str, folder: Path, triton: Triton) -> AsyncGenerator[tuple[Workshop, Proxy, Proxy]]:
    async with (
        proxied("127.0.0.1", triton.port) as first,
        proxied("127.0.0.1", triton.port) as second,
        open_workshop(pool, dsn, folder, [first.port, second.port], stall_s=STALL_S) as workshop,
    ):
        yield workshop, first, second


async def attempt_s(workshop: Workshop, job_id: UUID) -> float:
    """How long the first attempt took."""
    async with workshop.pool.acquire() as conn:
        return await conn.fetchval(
            "SELECT extract(epoch FROM ended_at - started_at)::float8 FROM gateway.attempt WHERE job_id = $1 AND attempt = 1",
            job_id,
        )


def freeze_at_progress(proxy: Proxy, count: int) -> None:
    """Keeps back the `count`th answer that tells of progress, and everything after it."""
    seen = 0

    def change(answer: bytes) -> bytes:
        nonlocal seen
        seen += PROGRESS in answer
        if seen >= count:
            proxy.freeze()
        return answer

    proxy.change = change


@pytest.mark.parametrize("dead", ["before_the_request", "at_the_first_word", "at_a_later_frame"])
async def test_a_connection_that_goes_dead_costs_an_attempt(
    pool: Pool, dsn: str, triton: Triton, tmp_path: Path, dead: str
) -> None:
    async with two_ways(pool, dsn, tmp_path, triton) as (workshop, first, second):
        second.refusing = True
        match dead:
            case "before_the_request":
                first.freeze_before(REQUEST)
            case "at_the_first_word":
                freeze_at_progress(first, 1)
            case _:
                freeze_at_progress(first, 2)
        async with workshop.dispatching():
            job_id = await workshop.order(frames=FRAMES)
            async with asyncio.timeout(SOON_S):
                await first.frozen.wait()
            second.refusing = False
            row = await workshop.ended(job_id)
        assert (row["state"], row["charged_micro"]) == ("succeeded", CHARGE_MICRO)
        assert await workshop.attempts(job_id) == [("r0", "failed", "generation_failed"), ("r1", "succeeded", None)]
        assert await attempt_s(workshop, job_id) <= STALL_S + GIVEN_UP_WITHIN_S
        assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)


async def test_a_server_that_accepts_and_never_answers_is_given_no_job(
    pool: Pool, dsn: str, triton: Triton, tmp_path: Path
) -> None:
    async with two_ways(pool, dsn, tmp_path, triton) as (workshop, first, _):
        first.freeze()
        async with workshop.dispatching():
            job_id = await workshop.order(frames=FRAMES)
            assert (await workshop.ended(job_id))["state"] == "succeeded"
        assert await workshop.attempts(job_id) == [("r1", "succeeded", None)]


@pytest.mark.parametrize("fault", ["silent", "stall@3"])
async def test_a_model_that_stalls_is_cancelled_and_tried_elsewhere(
    pool: Pool, dsn: str, triton: Triton, tmp_path: Path, fault: str
) -> None:
    made = triton.ended("faulty")
    async with two_ways(pool, dsn, tmp_path, triton) as (workshop, _, _), workshop.dispatching(attempts_max=2):
        job_id = await workshop.order(f"fault:{fault}")
        row = await workshop.ended(job_id)
        assert (row["state"], row["failures"], row["charged_micro"]) == ("failed", 2, 0)
        assert {replica for replica, _, _ in await workshop.attempts(job_id)} == {"r0", "r1"}
        assert await attempt_s(workshop, job_id) <= STALL_S + GIVEN_UP_WITHIN_S
        await cancelled(triton, "faulty", made + 2)
        assert await workshop.wallet() == (FUNDS_MICRO, 0)


async def test_a_model_that_takes_too_long_is_cancelled_though_it_makes_progress(
    pool: Pool, dsn: str, triton: Triton, tmp_path: Path
) -> None:
    made = triton.ended("testcard")
    async with (
        two_ways(pool, dsn, tmp_path, triton) as (workshop, _, _),
        workshop.dispatching(attempts_max=2, attempt_deadline_s=STALL_S),
    ):
        job_id = await workshop.order(frames=60 * 16)
        row = await workshop.ended(job_id)
        assert (row["state"], row["failures"], row["charged_micro"]) == ("failed", 2, 0)
        assert {replica for replica, _, _ in await workshop.attempts(job_id)} == {"r0", "r1"}
        assert await attempt_s(workshop, job_id) <= STALL_S + GIVEN_UP_WITHIN_S
        await cancelled(triton, "testcard", made + 2)
        assert await workshop.wallet() == (FUNDS_MICRO, 0)


async def cancelled(triton: Triton, model: str, ended: float) -> None:
    """Returns once the model has stopped working on what nobody waits for."""
    async with asyncio.timeout(SOON_S):
        while await asyncio.to_thread(triton.ended, model) < ended:
            await asyncio.sleep(0.05)
