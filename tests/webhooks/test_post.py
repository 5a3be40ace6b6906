"""From what happened to what is to be told: nothing is missed, nothing twice, nothing to the wrong one."""

import asyncpg
import msgspec

from billing.kit.query import Pool
from billing.ledger.wallets import top_up
from billing.plans.events import tell
from gateway.access.organizations import open_organization
from gateway.webhooks.endpoints import change_endpoint
from gateway.webhooks.post import post_events
from tests.jobs.shop import Shop
from tests.webhooks.conftest import Office, waiting

HOOK = "https://example.com/hook"


async def test_the_life_of_a_job_is_told_in_full_and_once(office: Office, shop: Shop) -> None:
    await office.endpoint(HOOK)
    held = await shop.running()
    await shop.settle(shop.delivered(held))
    assert await office.post() == 3
    assert await office.deliveries() == waiting("job.queued", "job.running", "job.succeeded")
    assert await office.post() == 0
    assert len(await office.deliveries()) == 3


async def test_each_endpoint_is_told_what_it_asks_for(office: Office, shop: Shop) -> None:
    ends = await office.endpoint(HOOK, events=("job.succeeded", "job.failed"))
    sdk = await office.endpoint(HOOK, form="openai")
    test = await office.endpoint(HOOK, livemode=False)
    held = await shop.running()
    await shop.settle(shop.delivered(held))
    other = await shop.running()
    await shop.give_up(other, final=True)
    await shop.enqueue(livemode=False)
    await office.post()
    assert await office.deliveries(ends.id) == waiting("job.succeeded", "job.failed")
    assert await office.deliveries(sdk.id) == waiting("job.succeeded", "job.failed")
    assert await office.deliveries(test.id) == waiting("job.queued")


async def test_nothing_from_before_an_endpoint_and_nothing_while_it_is_disabled(office: Office, shop: Shop) -> None:
    await shop.enqueue()
    endpoint = await office.endpoint(HOOK)
    await office.post()
    assert await office.deliveries() == []
    async with office.pool.acquire() as conn:
        await change_endpoint(conn, endpoint, enabled=False)
    await shop.enqueue()
    await office.post()
    assert await office.deliveries() == []


async def test_a_transaction_that_commits_late_is_not_missed(office: Office, shop: Shop, dsn: str) -> None:
    await office.endpoint(HOOK)
    job = await shop.enqueue()
    slow = await asyncpg.connect(dsn)
    try:
        begun = slow.transaction()
        await begun.start()
        await slow.execute(
            "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) VALUES ($1, $2, 2, 'running')", shop.org_id, job
        )
        later = await shop.enqueue()
        await office.post()
        assert await office.deliveries() == waiting("job.queued")  # of what began before the slow one, no more
        await begun.commit()
    finally:
        await slow.close()
    await office.post()
    assert sorted(await office.deliveries()) == sorted(waiting("job.queued", "job.running", "job.queued"))
    assert later


async def test_what_was_rolled_back_is_not_told(office: Office, shop: Shop) -> None:
    await office.endpoint(HOOK)
    job = await shop.enqueue()
    async with office.pool.acquire() as conn:
        undone = conn.transaction()
        await undone.start()
        await conn.execute(
            "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) VALUES ($1, $2, 2, 'failed')", shop.org_id, job
        )
        await undone.rollback()
    await office.post()
    assert await office.deliveries() == waiting("job.queued")


async def test_a_batch_never_parts_a_transaction(office: Office, shop: Shop) -> None:
    await office.endpoint(HOOK)
    job = await shop.enqueue()
    async with office.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO gateway.job_event (org_id, job_id, seq, kind) SELECT $1, $2, n, 'running' FROM generate_series(2, 50) n",
            shop.org_id,
            job,
        )
    taken: list[int] = []
    while not taken or taken[-1]:
        async with office.pool.acquire() as conn, conn.transaction():
            taken.append(await post_events(conn, events_max=1))
    assert taken == [1, 49, 0]
    assert len(await office.deliveries()) == 50


async def test_a_database_restored_elsewhere_tells_nothing_twice_and_misses_nothing(
    office: Office, shop: Shop, pool: Pool
) -> None:
    await office.endpoint(HOOK)
    await shop.enqueue()
    await office.post()
    job = await shop.enqueue()
    async with pool.acquire() as conn:  # ids of transactions that this cluster is far from having
        await conn.execute("UPDATE gateway.job_event SET xid = '9000000000'")
        await conn.execute("UPDATE gateway.webhook_mark SET cluster = 1, jobs = '9000000000'")
    await office.post()
    assert await office.deliveries() == waiting("job.queued", "job.queued")
    assert job


async def test_a_callback_is_told_in_the_dialect_of_its_request(office: Office, shop: Shop, pool: Pool) -> None:
    job = await shop.enqueue()
    async with pool.acquire() as conn:
        extra = msgspec.json.encode({"callback_url": HOOK})
        await conn.execute("UPDATE gateway.job SET request = request || $2, dialect = 'ark' WHERE id = $1", job, extra)
    (held,) = await shop.lease()
    await shop.settle(shop.delivered(held))
    await office.post()
    assert await office.deliveries() == waiting("job.queued", "job.running", "job.succeeded")
    async with pool.acquire() as conn:
        rows = await conn.fetch("SELECT DISTINCT url, form, endpoint_id FROM gateway.webhook_delivery")
        kinds = await conn.fetch("SELECT id, kind FROM gateway.webhook_endpoint")
    assert [(row["url"], row["form"]) for row in rows] == [(HOOK, "ark")]
    assert [(row["id"], row["kind"]) for row in kinds] == [(rows[0]["endpoint_id"], "callbacks")]


async def test_what_happens_to_money_is_told_too(office: Office, shop: Shop, pool: Pool) -> None:
    everything = await office.endpoint(HOOK)
    dry = await office.endpoint(HOOK, events=("wallet.runs_dry",))
    await office.endpoint(HOOK, form="openai")
    async with pool.acquire() as conn, conn.transaction():
        await tell(conn, "budget.reached", "a", shop.org_id, {"percent": 80})
        await tell(conn, "wallet.runs_dry", "b", shop.org_id, {"left_micro": 1})
    await office.post()
    assert await office.deliveries(everything.id) == waiting("budget.reached", "wallet.runs_dry")
    assert await office.deliveries(dry.id) == waiting("wallet.runs_dry")
    assert len(await office.deliveries()) == 3


async def test_one_organization_is_not_told_of_another(office: Office, shop: Shop, pool: Pool) -> None:
    await office.endpoint(HOOK)
    async with pool.acquire() as conn:
        async with conn.transaction():
            other = await open_organization(conn, "another", "CNY")
            await top_up(conn, source="another", customer_id=other.id, asset="CNY", amount_micro=10_000_000)
        await Shop(conn, other.id).enqueue()
    await office.post()
    assert await office.deliveries() == []
