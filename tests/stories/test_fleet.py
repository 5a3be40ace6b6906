"""A fleet of unequal servers while jobs run on it: whatever happens to one of them, jobs end elsewhere and are charged once."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.kit.query import Pool
from gateway.fleet.registry.change import change
from gateway.fleet.registry.declare import register
from gateway.fleet.registry.model import SeenRow, Verb
from gateway.fleet.registry.read import list_replicas
from gateway.jobs.cancel import cancel
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.workshop import SOON_S, Workshop, open_workshop
from tests.stories.yard import MODELS, Chip, open_yard

LONG = {"frames": 48}
LONG_MICRO = 3000 * RATE_MICRO // 1000
CHIPS = {"swift": (0.3, 9_000_000), "steady": (1.0, 2_000_000), "thrifty": (1.0, 1_000_000)}
"""Paces and prices: a second of video costs most on the swift one and least on the thrifty one."""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Chip]]:
    with open_yard(tmp_path_factory.mktemp("yard"), CHIPS) as chips:
        yield chips


class Fleet:
    """A workshop whose dispatcher runs on these chips."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    async def replicas(self) -> dict[str, SeenRow]:
        async with self.workshop.pool.acquire() as conn:
            return {row.name: row for row in await list_replicas(conn)}

    async def until(self, name: str, *conditions: str | None) -> SeenRow:
        async with asyncio.timeout(SOON_S):
            while (row := (await self.replicas()).get(name)) is None or row.condition not in conditions:
                await asyncio.sleep(0.02)
            return row

    async def until_loaded(self, name: str, *models: str) -> None:
        """Returns once the leader has noted that these and no others are there."""
        async with asyncio.timeout(SOON_S):
            while (await self.replicas())[name].loaded != list(models):
                await asyncio.sleep(0.02)

    async def say(self, name: str, verb: Verb) -> None:
        async with self.workshop.pool.acquire() as conn, conn.transaction():
            await change(conn, name, verb)

    async def at_work(self, job_id: UUID) -> str:
        """The replica that runs the job, once frames come out of it."""
        async with asyncio.timeout(SOON_S):
            while (await self.workshop.job(job_id))["frames_done"] == 0:
                await asyncio.sleep(0.02)
        return (await self.workshop.attempts(job_id))[-1][0]

    async def ended(self, *jobs: UUID) -> Counter[str]:
        """How many each replica made; all of them succeeded."""
        rows = [await self.workshop.ended(job_id) for job_id in jobs]
        assert {row["state"] for row in rows} == {"succeeded"}
        return Counter([(await self.workshop.attempts(job_id))[-1][0] for job_id in jobs])


Opened = Callable[..., Any]


@pytest.fixture
def fleet_of(pool: Pool, dsn: str, tmp_path: Path, yard: dict[str, Chip]) -> Opened:
    @asynccontextmanager
    async def open_fleet(*chips: Chip, **changes: Any) -> AsyncGenerator[Fleet]:
        replicas = tuple(chip.declared() for chip in chips)
        async with open_workshop(pool, dsn, tmp_path, []) as workshop:
            for chip in yard.values():
                chip.enter(tmp_path)
            async with workshop.dispatching(**({"replicas": replicas, "stall_s": 4.0} | changes)):
                fleet = Fleet(workshop)
                for chip in chips:
                    await fleet.until(chip.name, "up")
                yield fleet

    return open_fleet


async def test_one_is_killed_and_comes_back(yard: dict[str, Chip], fleet_of: Opened) -> None:
    async with fleet_of(yard["steady"], yard["swift"]) as fleet:
        job = await fleet.workshop.order(**LONG)
        assert await fleet.at_work(job) == "steady"
        yard["steady"].kill()
        assert await fleet.ended(job) == {"swift": 1}
        assert await fleet.workshop.attempts(job) == [
            ("steady", "failed", "generation_failed"), ("swift", "succeeded", None),
        ]  # fmt: skip
        assert "does not answer" in ((await fleet.until("steady", "down")).reason or "")
        assert await fleet.workshop.wallet() == (FUNDS_MICRO - LONG_MICRO, 0)
        yard["steady"].start()
        await fleet.until("steady", "up")
        assert await fleet.ended(await fleet.workshop.order()) == {"steady": 1}
    await costs_are_noted(fleet.workshop, job)


async def test_another_catalogue_ends_no_job_and_says_what_no_longer_fits(
    yard: dict[str, Chip], fleet_of: Opened, tmp_path: Path
) -> None:
    async with fleet_of(yard["steady"], yard["swift"]) as fleet:
        job = await fleet.workshop.order(**LONG)
        assert await fleet.at_work(job) == "steady"
        for file, rewritten in (
            ("models.toml", lambda text: text.replace("memory_gib = 1,", "memory_gib = 2,")),
            ("accelerators.toml", lambda text: re.sub(r'(name = "SWIFT"[^[]*memory_gib) = 1', r"\1 = 2", text)),
            ("speeds.toml", lambda text: re.sub(r'\[\[speeds\]\][^[]*"(STEADY|THRIFTY)"[^[]*', "", text)),
        ):  # until all three are written they contradict each other, and what there was stays in force
            (tmp_path / file).write_text(rewritten((tmp_path / file).read_text()))
        row = await fleet.until("steady", "cordoned")
        assert row.reason == "no model fits: testcard needs 2 GiB, and STEADY has 1"
        assert await fleet.ended(job) == {"steady": 1}
        assert await fleet.ended(await fleet.workshop.order()) == {"swift": 1}


async def costs_are_noted(workshop: Workshop, job: UUID) -> None:
    """Also of the attempt that failed."""
    async with workshop.pool.acquire() as conn:
        rows = await conn.fetch("SELECT * FROM gateway.attempt WHERE job_id = $1 ORDER BY attempt", job)
    assert [(row["accelerator"], row["price_micro_usd_per_hour"]) for row in rows] == [("STEADY", 2e6), ("SWIFT", 9e6)]
    assert rows[0]["device_ms"] > 0
    assert rows[1]["device_ms"] >= 3000 * CHIPS["swift"][0]


async def test_one_hangs_and_is_in_quarantine_until_it_made_a_sample(yard: dict[str, Chip], fleet_of: Opened) -> None:
    hung = yard["steady"]
    async with fleet_of(
        hung, yard["swift"], stall_s=1.5, cancel_confirm_s=0.5, quarantine_probe_s=0.2, breaker_pause_s=0.1
    ) as fleet:
        job = await fleet.workshop.order(**LONG)
        assert await fleet.at_work(job) == "steady"
        hung.send(signal.SIGSTOP)
        try:
            assert await fleet.ended(job) == {"swift": 1}
            row = await fleet.until("steady", "quarantined")
            assert (row.quarantined_by, row.quarantine_reason) == (
                "dispatcher", "a cancelled job of testcard did not stop within 0.5 s",
            )  # fmt: skip
            assert await fleet.ended(*[await fleet.workshop.order() for _ in range(3)]) == {"swift": 3}
        finally:
            hung.send(signal.SIGCONT)
        await fleet.until("steady", "up")
        assert await fleet.ended(await fleet.workshop.order()) == {"steady": 1}
        assert [replica for replica, _, _ in await fleet.workshop.attempts(job)] == ["steady", "swift"]
        made = 4 * (562 * RATE_MICRO // 1000)
        assert await fleet.workshop.wallet() == (FUNDS_MICRO - LONG_MICRO - made, 0)


async def test_a_cancelled_job_that_stops_is_no_reason_for_a_quarantine(yard: dict[str, Chip], fleet_of: Opened) -> None:
    async with fleet_of(yard["steady"], cancel_confirm_s=3.0) as fleet:
        job = await fleet.workshop.order(**LONG)
        await fleet.at_work(job)
        async with fleet.workshop.pool.acquire() as conn, conn.transaction():
            await cancel(conn, fleet.workshop.account.org_id, job)
        assert await fleet.ended(await fleet.workshop.order()) == {"steady": 1}
        assert (await fleet.workshop.job(job))["state"] == "cancelled"
        assert (await fleet.replicas())["steady"].quarantine_reason is None


async def test_the_one_that_is_slowed_down_makes_less(yard: dict[str, Chip], fleet_of: Opened) -> None:
    slow, same = yard["steady"], yard["thrifty"]
    async with fleet_of(slow, same, replicas=(slow.declared(), same.declared(slow))) as fleet:
        await slow.set_pace(3.0)
        try:
            made = await fleet.ended(*[await fleet.workshop.order() for _ in range(16)])
            later = await fleet.ended(*[await fleet.workshop.order() for _ in range(4)])
        finally:
            await slow.set_pace(slow.pace)
        assert made["thrifty"] > made["steady"] > 0
        assert later == {"thrifty": 4}  # it has learnt which one is slow


async def test_one_is_drained_one_is_added_and_removed_again(yard: dict[str, Chip], fleet_of: Opened) -> None:
    """None of it touches a job that runs."""
    async with fleet_of(yard["steady"], yard["swift"]) as fleet:
        first = await fleet.workshop.order(**LONG)
        assert await fleet.at_work(first) == "steady"
        await fleet.say("steady", "drain")
        assert await fleet.ended(*[await fleet.workshop.order() for _ in range(2)]) == {"swift": 2}
        assert (await fleet.until("steady", "draining")).running == 1

        async with fleet.workshop.pool.acquire() as conn, conn.transaction():
            await register(conn, yard["thrifty"].declared(), MODELS)
        await fleet.until("thrifty", "up")
        busy = [await fleet.workshop.order(**LONG)]
        assert await fleet.at_work(busy[0]) == "thrifty"
        await fleet.say("thrifty", "remove")
        assert (await fleet.until("thrifty", "leaving")).running == 1
        busy.append(await fleet.workshop.order(**LONG))
        assert await fleet.ended(first, *busy) == {"steady": 1, "swift": 1, "thrifty": 1}
        await fleet.until("steady", "drained")
        async with asyncio.timeout(SOON_S):
            while "thrifty" in await fleet.replicas():
                await asyncio.sleep(0.02)
        assert await fleet.ended(await fleet.workshop.order()) == {"swift": 1}
        assert [len(await fleet.workshop.attempts(job)) for job in (first, *busy)] == [1, 1, 1]
        assert await fleet.workshop.wallet() == (FUNDS_MICRO - 3 * LONG_MICRO - 3 * (562 * RATE_MICRO // 1000), 0)


async def test_a_model_is_loaded_when_a_job_waits_for_it(yard: dict[str, Chip], fleet_of: Opened) -> None:
    only = yard["swift"]
    async with fleet_of(only) as fleet:
        second = await fleet.workshop.order(model="faulty")
        assert await fleet.ended(second) == {"swift": 1}
        await fleet.until_loaded("swift", "faulty")
        assert await fleet.ended(await fleet.workshop.order()) == {"swift": 1}
        assert (await fleet.until("swift", "up")).loaded is not None


async def test_a_server_that_is_not_there_is_said_and_waited_for(yard: dict[str, Chip], fleet_of: Opened) -> None:
    absent = msgspec.structs.replace(yard["steady"].declared(), name="absent", url="127.0.0.1:1")
    async with fleet_of(replicas=(absent, yard["swift"].declared())) as fleet:
        assert await fleet.ended(await fleet.workshop.order()) == {"swift": 1}
        row = await fleet.until("absent", "down")
        assert "127.0.0.1:1 does not answer" in (row.reason or "")


async def test_what_no_chip_can_hold_and_what_has_no_price_is_cordoned_and_said(yard: dict[str, Chip], fleet_of: Opened) -> None:
    swift = yard["swift"].declared()
    unpriced = msgspec.structs.replace(swift, name="unpriced", accelerator="a new one", price_micro_usd_per_hour=None)
    unknown = msgspec.structs.replace(swift, name="unknown", models=("mystery",))
    async with fleet_of(replicas=(unpriced, unknown, yard["steady"].declared())) as fleet:
        assert await fleet.ended(await fleet.workshop.order()) == {"steady": 1}
        assert "what an hour of a new one costs" in ((await fleet.until("unpriced", "cordoned")).reason or "")
        assert "no model mystery" in ((await fleet.until("unknown", "cordoned")).reason or "")


async def test_each_job_goes_where_its_second_costs_least_and_the_urgent_one_first(
    yard: dict[str, Chip], fleet_of: Opened
) -> None:
    async with fleet_of(yard["thrifty"], yard["steady"], yard["swift"]) as fleet:
        await fleet.at_work(await fleet.workshop.order(**LONG))
        flex, standard, urgent = [await fleet.workshop.order(tier=tier) for tier in ("flex", "standard", "priority")]
        assert await fleet.ended(urgent, standard, flex) == {"thrifty": 3}
        rows = [await fleet.workshop.job(job) for job in (urgent, standard, flex)]
        assert [row["id"] for row in sorted(rows, key=lambda row: row["started_at"])] == [urgent, standard, flex]
