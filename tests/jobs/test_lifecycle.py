"""A job's life through its verbs: who may change it, when, and what that does to its hold."""

from uuid import UUID

import asyncpg
import pytest

from billing.kit.ids import new_id
from billing.kit.query import Pool
from gateway.jobs.cancel import cancel
from gateway.jobs.delete import delete
from gateway.jobs.janitors import expire_queued, forget_answers, rescue_lost_leases
from gateway.jobs.lease import heartbeat
from gateway.jobs.model import TRANSITIONS, JobRef, cost_micro_usd
from tests.jobs.shop import FUNDS_MICRO, Shop


async def stop(shop: Shop, job_id: UUID) -> str | None:
    async with shop.conn.transaction():
        return await cancel(shop.conn, shop.org_id, job_id)


async def rescue(shop: Shop, attempts_max: int = 3) -> int:
    async with shop.conn.transaction():
        return len(await rescue_lost_leases(shop.conn, attempts_max=attempts_max))


async def test_two_owners_never_take_the_same_job(shop: Shop, pool: Pool) -> None:
    jobs = {await shop.enqueue() for _ in range(4)}
    async with pool.acquire() as conn, conn.transaction():
        other = Shop(conn, shop.org_id)
        theirs = {one.id for one in await other.lease(limit=2)}
        ours = {one.id for one in await shop.lease(limit=4)}  # theirs wait as far as we can see
    assert ours | theirs == jobs and not ours & theirs and len(theirs) == 2


async def test_what_was_measured_is_charged_once(shop: Shop) -> None:
    held = await shop.running()
    assert await shop.settle(shop.delivered(held, duration_ms=4210)) == [True]
    assert await shop.wallet() == (4_210_000, 0)
    assert await shop.settle(shop.delivered(held, duration_ms=4210)) == [True]  # a replay
    assert await shop.wallet() == (4_210_000, 0)
    assert await shop.findings() == []


async def test_never_more_than_the_hold_is_charged(shop: Shop) -> None:
    held = await shop.running(frames=72)
    assert await shop.settle(shop.delivered(held, duration_ms=5000)) == [True]
    assert await shop.wallet() == (3_000_000, 0)


@pytest.mark.parametrize("stranger", ["owner", "attempt"])
async def test_a_stale_lease_can_do_nothing(shop: Shop, stranger: str) -> None:
    held = await shop.running(ttl_s=-1)
    assert await rescue(shop) == 1
    (now,) = await shop.lease()
    owner = new_id() if stranger == "owner" else shop.owner
    stale = held if stranger == "attempt" else now
    beat = await heartbeat(shop.conn, owner, {JobRef(stale.org_id, stale.id): (stale.attempt, 5)}, ttl_s=60)
    assert beat == {}
    assert await shop.settle(shop.delivered(stale, owner=owner)) == [False]
    assert await shop.give_up(stale, owner=owner, final=True) is None
    assert await shop.state(held.id) == "running"
    assert (await shop.wallet())[0] == 0
    assert await shop.findings() == []


async def test_a_batch_ends_ours_and_leaves_what_we_lost(shop: Shop) -> None:
    mine, lost = await shop.running(), await shop.running()
    assert await stop(shop, lost.id) == "cancelling"
    assert await shop.settle(shop.delivered(mine), shop.delivered(lost)) == [True, False]
    assert await shop.wallet() == (5_000_000, 5_000_000)
    assert await shop.findings() == []


async def test_failures_count_and_returns_do_not(shop: Shop) -> None:
    job = await shop.enqueue()
    for _ in range(5):
        (held,) = await shop.lease()
        assert await shop.give_up(held, counts=False) == "queued"
    (held,) = await shop.lease()
    assert (held.attempt, held.failures) == (6, 0)
    assert await shop.give_up(held) == "queued"
    assert [row.tried for row in await shop.waiting()] == [["replica-1"]]
    (held,) = await shop.lease()
    assert (held.attempt, held.failures) == (7, 1)
    assert await shop.give_up(held, final=True) == "failed"
    assert await shop.state(job) == "failed"
    assert await shop.wallet() == (0, 0)
    assert await shop.findings() == []


async def test_a_queued_job_is_cancelled_at_once_and_a_running_one_when_it_stops(shop: Shop) -> None:
    held = await shop.running()
    queued = await shop.enqueue()
    assert await stop(shop, queued) == "cancelled"
    assert await stop(shop, held.id) == "cancelling"
    assert await stop(shop, held.id) is None
    assert (await heartbeat(shop.conn, shop.owner, {JobRef(held.org_id, held.id): (1, 3)}, ttl_s=60)) == {
        JobRef(held.org_id, held.id): "cancelling"
    }
    assert await shop.give_up(held, counts=False) == "cancelled"
    assert await stop(shop, held.id) is None
    assert await shop.wallet() == (0, 0)
    assert await shop.log(held.id) == ["queued", "running", "cancelling", "cancelled"]
    assert await shop.findings() == []


async def test_lost_leases_are_rescued_until_too_many_failed(shop: Shop) -> None:
    held = await shop.running(ttl_s=-1)
    assert await rescue(shop, attempts_max=2) == 1
    assert await shop.state(held.id) == "queued"
    await shop.lease(ttl_s=-1)
    assert await rescue(shop, attempts_max=2) == 1
    assert await shop.state(held.id) == "failed"
    assert await rescue(shop, attempts_max=2) == 0
    assert await shop.wallet() == (0, 0)
    assert await shop.findings() == []


async def test_a_lost_lease_of_a_cancelled_job_ends_it(shop: Shop) -> None:
    held = await shop.running(ttl_s=-1)
    await stop(shop, held.id)
    async with shop.conn.transaction():
        (lost,) = await rescue_lost_leases(shop.conn, attempts_max=3)
    assert (lost.id, lost.state, lost.accelerator, lost.price_micro_usd_per_hour) == (held.id, "cancelled", "h100", 2_700_000)
    booked = await shop.conn.fetchval(
        "SELECT coalesce(-sum(e.amount), 0)::bigint FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
        " WHERE a.path LIKE 'expense:cogs:%:lost'"
    )
    assert booked == cost_micro_usd(lost.device_ms, lost.price_micro_usd_per_hour)
    assert await shop.state(held.id) == "cancelled"
    assert await shop.findings() == []


async def test_a_job_that_did_not_start_in_time_expires(shop: Shop) -> None:
    late, patient = await shop.enqueue(deadline_s=-5), await shop.enqueue()
    async with shop.conn.transaction():
        assert await expire_queued(shop.conn) == 1
    assert (await shop.state(late), await shop.state(patient)) == ("expired", "queued")
    assert await shop.wallet() == (0, 5_000_000)
    assert await shop.findings() == []


async def test_only_what_has_ended_is_deleted_and_its_charge_stays(shop: Shop) -> None:
    held = await shop.running()
    assert not await delete(shop.conn, shop.org_id, held.id)
    await shop.settle(shop.delivered(held))
    assert await delete(shop.conn, shop.org_id, held.id)
    assert not await delete(shop.conn, shop.org_id, held.id)
    assert await shop.wallet() == (5_000_000, 0)
    assert await shop.findings() == []


async def test_answers_are_forgotten_after_two_days_and_not_before(shop: Shop) -> None:
    for hours in (47, 49):
        await shop.conn.execute(
            "INSERT INTO gateway.idempotency (org_id, project_id, livemode, route, token, fingerprint, job_id, status, body, created_at)"
            " VALUES ($1, $1, true, 'native', $2, 'f', $1, 201, 'b', clock_timestamp() - make_interval(hours => $3))",
            shop.org_id,
            str(hours),
            hours,
        )
    assert await forget_answers(shop.conn) == 1
    assert await shop.conn.fetchval("SELECT token FROM gateway.idempotency") == "47"


@pytest.mark.parametrize(
    "change",
    [
        "state = 'done'",
        "state = 'running'",
        "lease_owner = id",
        "state = 'succeeded', finished_at = now()",
        "state = 'failed', finished_at = now()",
        "state = 'failed', error_code = 'x'",
        "finished_at = now()",
        "charged_micro = 1",
        "charged_micro = -1",
        "delivered_ms = 5, frames = 1",
        "deleted_at = now()",
        "max_ms = 0",
    ],
)
async def test_the_table_refuses_impossible_jobs(shop: Shop, change: str) -> None:
    job = await shop.enqueue()
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.conn.execute(f"UPDATE gateway.job SET {change} WHERE id = $1", job)


async def test_every_transition_in_the_table_is_one_that_happens(shop: Shop) -> None:
    """The table of transitions against what the verbs do, from every state they may start from."""
    seen: set[tuple[str, str]] = set()
    held = await shop.running()
    seen.add(("queued", await shop.state(held.id)))
    seen.add(("running", await shop.give_up(held) or ""))
    (held,) = await shop.lease()
    seen.add(("running", await shop.give_up(held, final=True) or ""))
    held = await shop.running()
    await shop.settle(shop.delivered(held))
    seen.add(("running", await shop.state(held.id)))
    held = await shop.running()
    seen.add(("running", await stop(shop, held.id) or ""))
    seen.add(("cancelling", await shop.give_up(held, counts=False) or ""))
    seen.add(("queued", await stop(shop, await shop.enqueue()) or ""))
    late = await shop.enqueue(deadline_s=-1)
    async with shop.conn.transaction():
        await expire_queued(shop.conn)
    seen.add(("queued", await shop.state(late)))
    assert seen == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    assert (await shop.wallet())[0] < FUNDS_MICRO


@pytest.mark.parametrize(
    "statement, index",
    [
        ("SELECT id FROM gateway.job WHERE state = 'queued' AND available_at <= billing.now() ORDER BY CASE tier WHEN"
         " 'priority' THEN 0 WHEN 'standard' THEN 1 ELSE 2 END, id LIMIT 2", "job_queue"),
        ("SELECT id FROM gateway.job WHERE state IN ('running', 'cancelling') AND lease_expires_at < billing.now()"
         " ORDER BY lease_expires_at LIMIT 5", "job_leases"),
        ("SELECT id FROM gateway.job WHERE state = 'queued' AND queue_deadline_at < billing.now()"
         " ORDER BY queue_deadline_at LIMIT 5", "job_deadlines"),
    ],
)  # fmt: skip
async def test_hot_statements_use_their_index(damaged: Shop, statement: str, index: str) -> None:
    await damaged.enqueue()
    await damaged.conn.execute(
        "INSERT INTO gateway.job (org_id, id, project_id, key_id, livemode, dialect, model, tier, request, fingerprint, terms,"
        " max_ms, hold_ms, hold_micro, frames_total, queue_deadline_at)"
        " SELECT org_id, gen_random_uuid(), project_id, key_id, livemode, dialect, model, tier, request, fingerprint, terms,"
        " max_ms, hold_ms, hold_micro, frames_total, queue_deadline_at"
        " FROM gateway.job, generate_series(1, 3000)"
    )
    await damaged.conn.execute("ANALYZE gateway.job")
    plan = "\n".join(row[0] for row in await damaged.conn.fetch(f"EXPLAIN {statement}"))
    assert index in plan, plan
