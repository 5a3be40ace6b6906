"""What the verifier says of counters that somebody bent."""

import pytest

from billing.kit.query import Pool
from tests.quotas.desk import Desk, open_desk


@pytest.fixture
async def bent(pool: Pool) -> Desk:
    return await open_desk(pool)


DAMAGE = [
    ("UPDATE gateway.quota_counter SET held = held + 1", "quota_counts_its_jobs"),
    ("UPDATE gateway.quota_counter SET used = used + 1", "quota_counts_its_jobs"),
    ("UPDATE gateway.job SET quota_counters = NULL", "quota_counts_its_jobs"),
    ("UPDATE gateway.quota_counter SET subject = 'somebody'", "job_is_counted_where_it_belongs"),
    ("UPDATE gateway.quota SET livemode = false", "job_is_counted_where_it_belongs"),
    ("UPDATE gateway.job SET quota_counters = quota_counters || quota_counters", "job_is_counted_once"),
]


@pytest.mark.parametrize("damage, rule", DAMAGE)
async def test_damage_is_found(bent: Desk, damage: str, rule: str) -> None:
    await bent.limit(scope="key", meter="requests", limit=5)
    await bent.admit()
    assert await bent.findings() == []
    async with bent.pool.acquire() as conn:
        await conn.execute(damage)
    assert rule in {one.rule for one in await bent.findings()}
