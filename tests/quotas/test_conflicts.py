"""Everything that locks quotas and counters, at once: nobody waits for each other in a ring, and what is counted is right."""

import asyncio

from billing.kit.query import Pool
from gateway.errors import NotFound, QuotaExceeded
from gateway.jobs.cancel import cancel
from gateway.quotas.alerts import tell_reached
from gateway.quotas.define import QuotaChange, change_quota, delete_quota, lock_quota
from gateway.quotas.forget import forget_counters
from gateway.submission import Admitted
from tests.quotas.desk import Desk, open_desk, video


async def test_admissions_ends_changes_and_janitors_at_once(pool: Pool) -> None:
    desks = [await open_desk(pool, name=name) for name in ("ann", "ben", "cyd")]
    doors = [desks[0].door(), desks[0].door(), desks[0].door()]
    for desk in desks:
        await desk.limit("requests", meter="requests", limit=60, per="hour")
        await desk.limit("users", scope="end_user", meter="generated_ms", limit=60_000)
        await desk.limit("jobs", meter="concurrent_jobs", per=None, limit=30)

    async def customer(desk: Desk, turn: int) -> None:
        asks = [desk.ask(video(end_user=user)) for user in ("a", "b", "c")]
        done = await asyncio.gather(*[doors[(turn + n) % 3].admit(one) for n, one in enumerate(asks)], return_exceptions=True)
        assert {type(one) for one in done} <= {Admitted, QuotaExceeded}
        for one in done:
            if isinstance(one, Admitted):
                async with pool.acquire() as conn, conn.transaction():
                    await cancel(conn, desk.org_id, one.job_id)

    async def manager(desk: Desk, turn: int) -> None:
        quota = await desk.limit(f"passing-{turn}", scope="model", meter="requests", limit=1000, soft=turn % 2 == 0)
        async with pool.acquire() as conn, conn.transaction():
            await change_quota(conn, await lock_quota(conn, desk.org_id, quota.id), QuotaChange(limit=2000))
        async with pool.acquire() as conn, conn.transaction():
            await delete_quota(conn, await lock_quota(conn, desk.org_id, quota.id))
        async with pool.acquire() as conn, conn.transaction():
            try:
                await delete_quota(conn, await lock_quota(conn, desk.org_id, quota.id))
            except NotFound:
                return
        raise AssertionError("a deleted quota was deleted again")

    async def clerk() -> None:
        for work in (tell_reached, forget_counters):
            async with pool.acquire() as conn, conn.transaction():
                await work(conn)

    work = [customer(desk, turn) for turn in range(6) for desk in desks]
    work += [manager(desk, turn) for turn in range(3) for desk in desks]
    await asyncio.gather(*work, *[clerk() for _ in range(6)])
    for desk in desks:
        assert await desk.findings() == []
    async with pool.acquire() as conn:
        await conn.execute("SELECT pg_stat_force_next_flush()")
        assert await conn.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
