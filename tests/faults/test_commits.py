"""A COMMIT that reaches PostgreSQL and whose answer is lost: whatever was promised holds, and everything happens once."""

import httpx
import pytest

from gateway.video import parse_public_id
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.proxy import Way, commit_after
from tests.faults.workshop import Workshop

CHARGE_MICRO = 562 * RATE_MICRO // 1000
BODY = {"model": "testcard", "prompt": "a lamp", "size": "128x72", "fps": 16, "frames": 9}
ENQUEUE, LEASE = b"INSERT INTO gateway.job (", b"INSERT INTO gateway.attempt"
SETTLE, GIVE_UP = b"SET state = 'succeeded'", b"UPDATE gateway.job j SET\n            state = CASE"


async def post(url: str, workshop: Workshop) -> httpx.Response:
    headers = {"authorization": f"Bearer {workshop.account.live}", "idempotency-key": "once"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{url}/v1/jobs", json=BODY, headers=headers)


async def charged_once(workshop: Workshop, answer: httpx.Response) -> None:
    """The job of the answer is the only one; it is made and paid for once."""
    job_id = parse_public_id(answer.json()["id"])
    assert job_id is not None
    async with workshop.pool.acquire() as conn:
        assert [row["id"] for row in await conn.fetch("SELECT id FROM gateway.job")] == [job_id]
    async with workshop.dispatching():
        assert (await workshop.ended(job_id))["state"] == "succeeded"
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)


async def test_an_admission_reads_its_outcome_back(workshop: Workshop, way: Way) -> None:
    async with workshop.serving(dsn=way.dsn) as url:
        way.proxy.cut_when = commit_after(ENQUEUE)
        first, again = await post(url, workshop), await post(url, workshop)
    assert way.proxy.cuts == 1
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    await charged_once(workshop, first)


async def test_an_admission_that_cannot_read_its_outcome_back_says_so(workshop: Workshop, way: Way) -> None:
    commit = commit_after(ENQUEUE)

    def and_stay_away(number: int, data: bytes) -> bool:
        way.proxy.refusing = way.proxy.refusing or commit(number, data)
        return way.proxy.refusing

    async with workshop.serving(dsn=way.dsn, pool_min=1, pool_max=1) as url:
        way.proxy.cut_when = and_stay_away
        first = await post(url, workshop)
        assert (first.status_code, first.json()["code"]) == (503, "outcome_unknown")
        way.proxy.refusing, way.proxy.cut_when = False, lambda _number, _data: False
        again = await post(url, workshop)
    assert again.status_code == 201
    await charged_once(workshop, again)


@pytest.mark.parametrize(
    "statement, attempts",
    [
        (LEASE, [("r0", "lost", "lease_expired"), ("r0", "succeeded", None)]),
        (SETTLE, [("r0", "succeeded", None)]),
    ],
)
async def test_a_dispatcher_charges_once(
    workshop: Workshop, way: Way, statement: bytes, attempts: list[tuple[str, str, str | None]]
) -> None:
    way.proxy.cut_when = commit_after(statement)
    async with workshop.clerking(), workshop.dispatching(dsn=way.dsn):
        job_id = await workshop.order()
        assert (await workshop.ended(job_id))["state"] == "succeeded"
    assert way.proxy.cuts == 1
    assert await workshop.attempts(job_id) == attempts
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)


async def test_a_dispatcher_counts_a_failed_attempt_once(workshop: Workshop, way: Way) -> None:
    way.proxy.cut_when = commit_after(GIVE_UP)
    async with workshop.dispatching(dsn=way.dsn, attempts_max=2):
        job_id = await workshop.order("fault:error")
        row = await workshop.ended(job_id)
    assert way.proxy.cuts == 1
    assert (row["state"], row["failures"]) == ("failed", 2)
    assert await workshop.attempts(job_id) == [("r0", "failed", "generation_failed")] * 2
    assert await workshop.wallet() == (FUNDS_MICRO, 0)
