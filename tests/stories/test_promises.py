"""A start is promised while somebody leads, written by the admission, and quoted before."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from billing.kit.query import Pool
from gateway.errors import FleetBusy
from gateway.fleet.policy.curve import ClassCurve, DemandCurve
from gateway.fleet.promises.publish import begin_term, publish
from gateway.jobs.model import job_of
from gateway.jobs.read import JobReader
from gateway.jobs.waiting.inbox import database_time
from gateway.video import Job
from tests.faults.workshop import SOON_S, Triton, Workshop, open_workshop, started

TARGET_S = {"priority": 60.0, "standard": 600.0, "flex": 21_600.0}
BODY = {"model": "testcard", "prompt": "a lamp", "size": "128x72", "fps": 16, "frames": 9}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    yield from started(tmp_path_factory.mktemp("triton"))


@pytest.fixture
async def workshop(pool: Pool, dsn: str, triton: Triton, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(pool, dsn, tmp_path, [triton.port]) as opened:
        yield opened


async def promised_s(workshop: Workshop, **changes: Any) -> float | None:
    """Of a new job: how long after its admission it starts at the latest."""
    row = await workshop.job(await workshop.order(**changes))
    return None if row["promised_start_at"] is None else (row["promised_start_at"] - row["created_at"]) / timedelta(seconds=1)


async def until_leading(workshop: Workshop) -> None:
    async with asyncio.timeout(SOON_S):
        while await promised_s(workshop) is None:
            await asyncio.sleep(0.1)


async def test_a_start_is_promised_while_somebody_leads(workshop: Workshop) -> None:
    assert await promised_s(workshop) is None
    async with workshop.quotes.following():
        async with workshop.dispatching():
            await until_leading(workshop)
            for tier, target_s in TARGET_S.items():
                assert await promised_s(workshop, tier=tier) == pytest.approx(target_s, abs=0.01)
            job_id = await workshop.order()
            row = await workshop.ended(job_id)
            assert row["started_at"] < row["promised_start_at"]
        async with asyncio.timeout(SOON_S):
            while await promised_s(workshop) is not None:
                await asyncio.sleep(0.1)


async def test_the_api_quotes_what_it_then_promises(workshop: Workshop) -> None:
    async with (
        workshop.dispatching(),
        workshop.serving() as url,
        httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {workshop.account.live}"}, trust_env=False) as http,
    ):
        async with asyncio.timeout(SOON_S):
            while (estimate := (await http.post("/v1/estimate", json=BODY)).json())["tiers"][0]["start"] is None:
                await asyncio.sleep(0.1)
        starts = {one["tier"]: one["start"] for one in estimate["tiers"]}
        assert {tier: start["promised_start_s"] for tier, start in starts.items()} == TARGET_S
        for start in starts.values():
            assert 0 <= start["expected_start_s"] <= start["expected_finish_s"]
            assert start["confidence"] in ("catalogue", "measured")
        made = (await http.post("/v1/jobs", json=BODY)).json()
        assert made["promised_start_at"] > made["created_at"]
        read = (await http.get(f"/v1/jobs/{made['id']}")).json()
        assert read["promised_start_at"] == made["promised_start_at"]
        ended = (await http.get(f"/v1/jobs/{made['id']}", headers={"prefer": "wait=30"})).json()
        assert (ended["state"], ended["expected_start_at"], ended["expected_finish_at"]) == ("succeeded", None, None)
        assert ended["billing"]["credited_micro"] == 0


async def test_a_tier_that_can_promise_nothing_refuses_and_holds_nothing(workshop: Workshop) -> None:
    full = ClassCurve(0, 1.0, 1.0, 1.5, "measured", 1.0, [0.0, 0.0, 0.0], (1e6, 1e6, 0.0))
    quotes = workshop.quotes
    async with quotes.following(), workshop.pool.acquire() as conn:
        term, _ = await begin_term(conn)
        refused: FleetBusy | None = None
        async with asyncio.timeout(SOON_S):
            while refused is None:
                now = await database_time(conn)
                curve = DemandCurve(0, now, [now + 30.0], [[[9.0], [9.0], [9.0]]], 1.0, {"testcard 480p": full}, {})
                await publish(conn, term, curve, read_at=now)
                try:
                    await workshop.order()
                except FleetBusy as error:
                    refused = error
                await asyncio.sleep(0.1)
        assert refused.retry_after_s is not None and refused.retry_after_s >= 60
        held = await workshop.wallet()
        with pytest.raises(FleetBusy):
            await workshop.order()
        assert await workshop.wallet() == held
        assert await promised_s(workshop, tier="flex") == pytest.approx(TARGET_S["flex"], abs=0.01)


async def test_a_job_that_waits_and_one_that_runs_say_when_they_should_be_done(workshop: Workshop) -> None:
    replica = msgspec.structs.replace(workshop.settings.replicas[0], slots=1)
    async with workshop.dispatching(replicas=(replica,)), workshop.quotes.following():
        await until_leading(workshop)
        row = await workshop.job(await workshop.order("fault:stall"))
        waits = await workshop.order("fault:stall")
        running = await workshop.until(row["id"], "running")
        first, second = [await expected(workshop, job) for job in (row["id"], waits)]
        assert first.state == "running" and first.expected_start_at is None and first.expected_finish_at is not None
        assert first.expected_finish_at >= running["started_at"]
        assert second.state == "queued" and second.expected_start_at is not None and second.expected_finish_at is not None
        assert second.promised_start_at is not None
        assert second.created_at <= second.expected_start_at <= second.promised_start_at
        assert second.expected_start_at < second.expected_finish_at
        # Where they stand is where the leader would start them: a priority job first, whoever came before it.
        urgent, last = await workshop.order("fault:stall", tier="priority"), await workshop.order("fault:stall", tier="flex")
        async with asyncio.timeout(SOON_S):
            while await places(workshop, urgent, waits, last) != [0, 1, 2]:
                await asyncio.sleep(0.05)
        assert (await expected(workshop, row["id"])).queue_position is None


async def places(workshop: Workshop, *jobs: UUID) -> list[int | None]:
    return [(await expected(workshop, job)).queue_position for job in jobs]


async def expected(workshop: Workshop, job_id: UUID) -> Job:
    reader = JobReader(workshop.pool)
    return workshop.quotes.expected(job_of(await reader.any_job(workshop.account.org_id, job_id)))
