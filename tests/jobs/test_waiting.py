"""How a leader reads the queue: everything once, whatever transactions do meanwhile."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from gateway.fleet.chips import load_chips
from gateway.fleet.policy.restore import jobs_of
from gateway.intake import backlog, first, queued
from gateway.jobs.model import JobRef
from gateway.jobs.waiting.inbox import Inbox, database_time
from gateway.jobs.waiting.model import Waiting
from tests.jobs.shop import Shop, open_shop


async def read(inbox: Inbox, conn: Conn, known: set[bytes]) -> list[Waiting]:
    """What is new and due; it is known from then on."""
    await inbox.read(conn, known.__contains__)
    due = inbox.due(await database_time(conn))
    known.update(row.key for row in due)
    return due


async def test_what_is_told_of_a_job(shop: Shop) -> None:
    job = await shop.enqueue(tier="flex", frames=48)
    (row,) = await shop.waiting()
    assert (row.org_id, row.id, JobRef.of(row.key)) == (shop.org_id, job, JobRef(shop.org_id, job))
    assert (row.model, row.tier, row.resolution, row.seconds, row.steps) == ("testcard", "flex", "720p", 2.0, 10)
    assert (row.promised_at, row.attempt, row.tried) == (None, 0, [])
    assert row.available_at == pytest.approx(row.submitted_at, abs=1.0)


async def test_a_test_job_runs_on_the_test_card_whatever_it_names(shop: Shop) -> None:
    await shop.enqueue(model="another", livemode=False)
    assert [row.model for row in await shop.waiting()] == ["testcard"]


async def test_each_job_is_told_once_and_again_when_it_is_queued_again(shop: Shop) -> None:
    inbox, known = Inbox(), set[bytes]()
    first = await shop.enqueue()
    assert [row.id for row in await read(inbox, shop.conn, known)] == [first]
    second = await shop.enqueue()
    assert [row.id for row in await read(inbox, shop.conn, known)] == [second]
    assert await read(inbox, shop.conn, known) == []
    (held, _) = await shop.lease(limit=2)
    known.clear()
    await shop.give_up(held)
    assert [(row.id, row.attempt) for row in await read(inbox, shop.conn, known)] == [(first, 1)]


async def test_a_job_whose_transaction_commits_late_is_found(shop: Shop, pool: Pool) -> None:
    inbox, known = Inbox(), set[bytes]()
    async with pool.acquire() as conn:
        slow = Shop(conn, shop.org_id)
        async with conn.transaction():
            late = await slow.enqueue()
            before = new_id()
            assert await read(inbox, shop.conn, known) == []
        assert late < before
        assert [row.id for row in await read(inbox, shop.conn, known)] == [late]


async def test_what_was_asked_for_is_looked_at_again(shop: Shop) -> None:
    inbox, known = Inbox(), set[bytes]()
    started, waiting = await shop.enqueue(), await shop.enqueue()
    await read(inbox, shop.conn, known)
    await shop.lease()
    known.clear()
    for job in (started, waiting):
        inbox.ask(JobRef(shop.org_id, job).key)
    assert [row.id for row in await read(inbox, shop.conn, known)] == [waiting]


async def test_a_job_that_is_not_to_start_yet_is_kept_back(shop: Shop) -> None:
    inbox = Inbox()
    job = await shop.enqueue()
    now = await database_time(shop.conn)
    await shop.conn.execute("UPDATE gateway.job SET available_at = $2 WHERE id = $1", job, at(now + 60))
    await inbox.read(shop.conn, lambda _: False)
    assert inbox.due(now + 59) == [] and inbox.wait_s(now + 59, 5.0) == pytest.approx(1.0, abs=0.01)
    assert [row.id for row in inbox.due(now + 61)] == [job]


async def test_a_new_leader_is_told_in_bulk_what_a_slow_one_would_be_told_row_by_row(shop: Shop, pool: Pool) -> None:
    async with pool.acquire() as conn:
        other = await open_shop(conn, "other")
        for n in range(9):
            await (shop, other)[n % 2].enqueue(tier=("flex", "standard", "priority")[n % 3], frames=24 * (1 + n % 4))
    rows = await shop.waiting()
    promised = at(rows[3].submitted_at + 600)
    await shop.conn.execute("UPDATE gateway.job SET promised_start_at = $2 WHERE id = $1", rows[3].id, promised)
    await shop.conn.execute("UPDATE gateway.job SET available_at = $2 WHERE id = $1", rows[4].id, at(rows[4].submitted_at + 60))
    (held,) = await shop.lease()
    await shop.give_up(held)

    chips = load_chips("")
    models = {model.name: model for model in chips.models}
    inbox = Inbox()
    begin = await inbox.read_first(shop.conn)
    assert [row.tier for row in begin] == sorted((row.tier for row in begin), key=("priority", "standard", "flex").index)
    async with shop.conn.transaction(isolation="repeatable_read", readonly=True):
        flows, others = await inbox.read_whole(shop.conn)
    inbox.keep(others, lambda _: False)
    told = backlog(flows, models)
    assert len(told.jobs) == 7 and len(set(told.kinds)) == 3 and told.organizations == [*dict.fromkeys(told.organizations)]
    assert np.isnan(told.promised_at).sum() == 6
    later = [row.id for row in inbox.due(await database_time(shop.conn) + 3600)]
    assert {JobRef.of(bytes(key)).id for key in told.jobs if isinstance(key, bytes)} | set(later) == {row.id for row in rows}
    one_by_one = [queued(row, models) for row in await shop.waiting() if row.id not in later]
    assert list(jobs_of(told)) == one_by_one
    few = sorted((row for row in begin if row.id not in later), key=lambda row: row.id)
    assert list(jobs_of(first(few, models))) == one_by_one
    assert await read(inbox, shop.conn, {row.key for row in rows}) == []


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(0).astimezone() + timedelta(seconds=seconds)
