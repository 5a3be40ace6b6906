"""What admission asks of quotas stays a look into indexes, however many an organization has."""

from billing.kit.ids import new_id
from tests.quotas.desk import Desk

READ = "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname IN ('quota', 'quota_counter')"


async def test_only_what_concerns_a_request_is_read(desk: Desk) -> None:
    users = await desk.limit("users", scope="end_user", meter="requests", limit=5)
    async with desk.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO gateway.quota (org_id, id, name, livemode, scope, subject, meter, per, most)"
            " SELECT $1, gen_random_uuid(), 'k' || n, true, 'model', 'm' || n, 'requests', 'day', 1 FROM generate_series(1, 3000) n",
            desk.org_id,
        )
        await conn.execute(
            "INSERT INTO gateway.quota_counter (org_id, quota_id, subject, starts_at, counts_until)"
            " SELECT $1, $2, 'u' || n, billing.now(), billing.now() + interval '1 hour' FROM generate_series(1, 5000) n",
            desk.org_id, users.id,
        )  # fmt: skip
        await conn.execute("ANALYZE gateway.quota, gateway.quota_counter")

        async def read() -> int:
            await conn.execute("SELECT pg_stat_force_next_flush()")
            return await conn.fetchval(READ)

        before = await read()
        for _ in range(10):  # more than the five after which a plan is kept
            rows = await conn.fetch(
                "SELECT subject FROM gateway.count_quotas(ARRAY[$1::uuid], ARRAY[true], ARRAY[$2], ARRAY[$3], ARRAY['testcard'], ARRAY['u7'])",
                desk.org_id, str(new_id()), str(new_id()),
            )  # fmt: skip
            assert [row["subject"] for row in rows] == ["u7"]
        assert 0 < await read() - before <= 100
