"""A dispatcher that sleeps past its lease: another takes over, and what the first still does when it wakes counts for nothing."""

import asyncio
import hashlib
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from os import kill
from pathlib import Path

import msgspec
import pytest

from gateway.media.keys import artifact_key
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.proxy import Way
from tests.faults.workshop import SOON_S, Workshop
from tests.stack import PROGRAMS, Process

CHARGE_MICRO = 562 * RATE_MICRO // 1000
HEARTBEAT, SETTLE = b"WITH beat AS", b"SET state = 'succeeded'"


@asynccontextmanager
async def dispatcher(workshop: Workshop, way: Way) -> AsyncGenerator[Process]:
    """A process of its own, so that it can be stopped."""
    settings = msgspec.structs.replace(workshop.settings, dsn=way.dsn)
    log = Path(settings.spool_dir) / "zombie.log"
    process = Process("dispatch", [sys.executable, "-c", PROGRAMS["dispatch"]], settings.environment(), log)
    process.start()
    try:
        yield process
    finally:
        await asyncio.to_thread(process.kill)


async def until(zombie: Process, happened: Callable[[], bool]) -> None:
    """Bounded by the test. Raises AssertionError, with its log, when the process has ended."""
    while not happened():
        assert zombie.alive(), zombie.text()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("asleep_before", [HEARTBEAT, SETTLE])
async def test_late_writes_are_fenced_off(workshop: Workshop, way: Way, asleep_before: bytes) -> None:
    """Woken while the database is still out of its reach, it finishes its video and stores it, later than the winner."""
    way.proxy.freeze_before(asleep_before)
    async with asyncio.timeout(2 * SOON_S), workshop.clerking(), dispatcher(workshop, way) as zombie:
        job_id = await workshop.order()
        await way.proxy.frozen.wait()
        kill(zombie.pid, signal.SIGSTOP)

        async with workshop.dispatching():
            row = await workshop.ended(job_id)
        won = {name: workshop.file(artifact) for name, artifact in workshop.artifacts(row).items()}
        assert (row["state"], row["attempt"]) == ("succeeded", 2)
        assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)

        kill(zombie.pid, signal.SIGCONT)
        late = Path(workshop.settings.media_url.removeprefix("file://")) / artifact_key(
            workshop.account.org_id.hex, job_id.hex, 1, "thumbnail.jpeg"
        )
        await until(zombie, late.exists)
        way.proxy.thaw()
        await until(zombie, lambda: "settlement_superseded" in zombie.text() or "attempt_stopped" in zombie.text())

    after = await workshop.job(job_id)
    assert dict(after) == dict(row)
    assert {name: workshop.file(artifact) for name, artifact in workshop.artifacts(after).items()} == won
    for name, artifact in workshop.artifacts(after).items():
        assert hashlib.sha256(won[name]).hexdigest() == artifact.sha256
    assert await workshop.attempts(job_id) == [("r0", "lost", "lease_expired"), ("r0", "succeeded", None)]
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)


async def leading_sessions(workshop: Workshop, *, at_rest: bool = False) -> set[int]:
    """Those of the leader and of whoever stands by; `at_rest`: that have asked for the lock and heard the answer."""
    async with workshop.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT pid, state = 'idle' AND query LIKE '%pg_try_advisory_lock%' AS at_rest FROM pg_stat_activity"
            " WHERE application_name = 'tallylight-lead' AND datname = current_database()"
        )
    return {row["pid"] for row in rows if row["at_rest"] or not at_rest}


async def asleep_at_rest(workshop: Workshop, standby: Process, others: set[int]) -> set[int]:
    """Stops it; in the middle of its first question, PostgreSQL would wait for the rest of it."""
    while True:
        kill(standby.pid, signal.SIGSTOP)
        if session := await leading_sessions(workshop, at_rest=True) - others:
            return session
        kill(standby.pid, signal.SIGCONT)
        await asyncio.sleep(0.01)


async def test_a_standby_that_slept_still_takes_over(workshop: Workshop, way: Way) -> None:
    async with asyncio.timeout(2 * SOON_S), workshop.dispatching() as stop:
        while not (leader := await leading_sessions(workshop)):
            await asyncio.sleep(0.02)
        async with dispatcher(workshop, way) as standby:
            sleeping = await asleep_at_rest(workshop, standby, leader)
            while sleeping & await leading_sessions(workshop):
                await asyncio.sleep(0.05)
            kill(standby.pid, signal.SIGCONT)
            stop.set()
            while leader & await leading_sessions(workshop):
                await asyncio.sleep(0.02)
            job_id = await workshop.order()
            await until(standby, lambda: "job_succeeded" in standby.text())
    assert await workshop.attempts(job_id) == [("r0", "succeeded", None)]
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)
