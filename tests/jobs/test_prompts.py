"""What was asked for is kept as long as the project says, and then it is gone from the database."""

import pytest

from gateway.jobs.janitors import forget_prompts
from tests.jobs.shop import Shop


async def prompts(shop: Shop) -> list[str]:
    rows = await shop.conn.fetch("SELECT request ->> 'prompt' AS prompt FROM gateway.job ORDER BY id")
    return [row["prompt"] for row in rows]


@pytest.mark.parametrize("days, kept", [(0, ""), (1, "a lamp"), (30, "a lamp")])
async def test_a_prompt_is_kept_as_long_as_the_project_says(shop: Shop, days: int, kept: str) -> None:
    shop.project_id = await shop.conn.fetchval(
        "UPDATE gateway.project SET prompt_days = $2 WHERE org_id = $1 RETURNING id", shop.org_id, days
    )
    held = await shop.running()
    assert await forget_prompts(shop.conn) == 0 and await prompts(shop) == ["a lamp"]  # it runs
    assert await shop.settle(shop.delivered(held)) == [True]
    await shop.enqueue()
    assert await forget_prompts(shop.conn) == (kept == "") and await prompts(shop) == [kept, "a lamp"]
    await shop.conn.execute("UPDATE gateway.job SET finished_at = finished_at - interval '31 days' WHERE finished_at IS NOT NULL")
    assert await forget_prompts(shop.conn) == (kept != "") and await prompts(shop) == ["", "a lamp"]
    assert await forget_prompts(shop.conn) == 0
    dump = await shop.conn.fetchval("SELECT string_agg(j::text, '') FROM gateway.job j WHERE finished_at IS NOT NULL")
    assert "lamp" not in dump and await shop.findings() == []
