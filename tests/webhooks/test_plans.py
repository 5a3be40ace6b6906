"""The clerk's statements stay as quick as what is new, however much is old."""

from billing.kit.ids import new_id
from billing.kit.query import Pool
from gateway.webhooks import sql
from tests.jobs.shop import Shop
from tests.webhooks.conftest import Office


async def plan(pool: Pool, statement: str, *arguments: object) -> str:
    async with pool.acquire() as conn, conn.transaction():
        rows = await conn.fetch(f"EXPLAIN {statement}", *arguments)
    return "\n".join(row[0] for row in rows)


async def test_only_new_lines_of_the_log_are_read(office: Office, shop: Shop, pool: Pool) -> None:
    job = await shop.enqueue()
    async with pool.acquire() as conn:
        for _ in range(20):  # each in a transaction of its own, as they come
            await conn.execute(
                "INSERT INTO gateway.job_event (org_id, job_id, seq, kind)"
                " SELECT $1, $2, n + (SELECT max(seq) FROM gateway.job_event), 'running' FROM generate_series(1, 500) n",
                shop.org_id,
                job,
            )
        await conn.execute("ANALYZE gateway.job_event")
    assert await office.post() == 10_001
    assert "Index Scan using job_event_xid" in await plan(pool, sql.POST_JOBS.sql, 2000)


async def test_only_what_is_due_is_looked_at(office: Office, shop: Shop, pool: Pool) -> None:
    endpoint = await office.endpoint("https://example.com/")
    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO gateway.webhook_delivery (org_id, id, endpoint_id, event, form, happened_at, state, ended_at)"
            " SELECT $1, gen_random_uuid(), $2, 'job.queued', 'native', billing.now(), 'delivered', billing.now()"
            " FROM generate_series(1, 20000)",
            shop.org_id,
            endpoint.id,
        )
        await conn.execute(
            "INSERT INTO gateway.webhook_delivery (org_id, id, endpoint_id, event, form, happened_at) VALUES ($1, $2, $3, 'job.queued', 'native', billing.now())",
            shop.org_id,
            new_id(),
            endpoint.id,
        )
        await conn.execute("ANALYZE gateway.webhook_delivery")
    chosen = await plan(pool, sql.CLAIM.sql, 100, 60.0)
    assert "webhook_delivery_due" in chosen and "Seq Scan on webhook_delivery" not in chosen
