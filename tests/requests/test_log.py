"""The request log of one process: written behind the answers, whole, once, and never without a bound."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from billing.kit.ids import new_id
from billing.kit.pool import open_pool
from billing.kit.query import Pool
from gateway.requests import log
from gateway.requests.log import RequestLog
from gateway.requests.model import Call, Group
from gateway.requests.read import group_calls, list_calls
from gateway.telemetry.metrics import unlogged_requests
from tests.faults.proxy import commit_after, way_to

ORG, KEY = UUID(int=1), UUID(int=2)
DAY = timedelta(days=1)


def call() -> Call:
    return Call(ORG, new_id(), datetime.now(UTC), None, KEY, "POST", "/v1/jobs", 400, "invalid_request", 7, None, "req_1")


async def groups(pool: Pool) -> dict[str, Group]:
    now = datetime.now(UTC)
    async with pool.acquire() as conn:
        return {one.method: one for one in await group_calls(conn, ORG, since=now - DAY, until=now + DAY)}


async def test_all_that_waits_is_written_when_the_process_stops(pool: Pool) -> None:
    noted = RequestLog(pool)
    noted.start()
    for _ in range(2 * log._BATCH_MAX + 1):
        noted.note(call())
    for duration_ms in (1, 2, 6):
        noted.count(ORG, None, KEY, "/v1/jobs/{job_id}", duration_ms)
    await noted.close()
    found = await groups(pool)
    assert found["POST"].calls == 2 * log._BATCH_MAX + 1 and found["POST"].code == "invalid_request"
    read = found["GET"]
    assert (read.calls, read.mean_ms, read.max_ms, read.route) == (3, 3, None, "/v1/jobs/{job_id}")


async def test_reads_are_written_once_their_minute_is_over(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = RequestLog(pool)
    noted.count(ORG, None, KEY, "/v1/jobs/{job_id}", 1)
    await noted._write()
    assert await groups(pool) == {}
    later = datetime.now(UTC).timestamp() + 120
    monkeypatch.setattr(log, "time", lambda: later)
    noted.count(ORG, None, KEY, "/v1/jobs/{job_id}", 1)
    noted._reads = {(key[0], key[1] - timedelta(minutes=4), *key[2:]): counted for key, counted in noted._reads.items()}
    await noted._write()
    assert (await groups(pool))["GET"].calls == 2 and noted._reads == {}


async def test_a_batch_whose_answer_was_lost_is_logged_once(pool: Pool, dsn: str) -> None:
    async with way_to(dsn) as way, await open_pool(way.dsn.reveal(), name="through", size_min=1, size_max=2) as through:
        noted = RequestLog(through)
        noted.note(call())
        noted.count(ORG, None, KEY, "/v1/jobs/{job_id}", 1)
        way.proxy.cut_when = commit_after(b"INSERT INTO gateway.request (")
        async with asyncio.timeout(30):
            await noted._write(whole=True)
            await noted._write(whole=True)
        await noted.close()
    found = await groups(pool)
    assert (found["POST"].calls, found["GET"].calls) == (1, 1)


async def test_what_it_has_no_room_for_is_counted(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_WAITING_MAX", 2)
    noted, before = RequestLog(pool), unlogged_requests._value.get()
    for _ in range(3):
        noted.note(call())
        noted.count(ORG, None, new_id(), "/v1/jobs/{job_id}", 1)
    assert unlogged_requests._value.get() - before == 2
    await noted.close()
    now = datetime.now(UTC)
    async with pool.acquire() as conn:
        assert len(await list_calls(conn, ORG, since=now - DAY, until=now + DAY, limit=10)) == 2
