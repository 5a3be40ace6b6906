"""A report over a month reads sums, not jobs: what the planner did is looked at, and how many rows it really read."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.arguments import plan_with_values
from billing.reports.model import Ask, ask
from billing.reports.period import month_of, period_of, zone_of
from billing.reports.usage import usage_arguments
from tests.billing.charges.book import CUSTOMERS, START, Usages, series, some_row

MARCH = month_of("2026-03", zone_of("Asia/Shanghai"))
CUSTOMER = {"organization": [str(CUSTOMERS[0])]}

FILL = """
    INSERT INTO billing.usage (at, subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro,
                               requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts)
    SELECT $1::timestamptz + n * interval '80 seconds', gen_random_uuid(), $2, 5, 0, 5, 0, 1, 8, 8, 8, 0, 1, 1, 0, 1
    FROM generate_series(0, 30000) n
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def read(conn: Conn, want: Ask) -> dict[str, int]:
    """How many rows of sums and of jobs were read, also those that a filter threw away."""
    async with conn.transaction():
        await plan_with_values(conn)
        text = await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.USAGE.sql}", *usage_arguments(want, None))
    found = {"rollup": 0, "usage": 0}
    for node in nodes(json.loads(text)[0]["Plan"]):
        table = node.get("Relation Name", "")
        kind = "rollup" if table.startswith("usage_rollup") else "usage" if table.startswith("usage_2") else ""
        if kind:
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            found[kind] += round(rows * node["Actual Loops"])
    return found


@pytest.fixture
async def month(usages: Usages) -> Usages:
    """Thirty thousand jobs of one series over March, rolled up, among a few of others."""
    await usages.conn.execute("SELECT billing.add_usage_month('2026-03-01')")
    await usages.conn.execute("SELECT billing.add_usage_month('2026-02-01')")
    await usages.record(some_row())
    await usages.conn.execute(FILL, START, series().id)
    await usages.history(random.Random(3), 20, days=20)
    while await usages.roll_up():
        pass
    await usages.conn.execute("VACUUM ANALYZE billing.usage, billing.usage_rollup, billing.usage_series")
    return usages


@pytest.mark.parametrize("filters", [{}, CUSTOMER])
@pytest.mark.parametrize("groups", [["model"], ["day", "model"], ["hour"]])
async def test_a_month_is_read_from_its_sums(month: Usages, groups: list[str], filters: dict[str, list[str]]) -> None:
    found = await read(month.conn, ask(MARCH, groups, filters, book="live"))
    assert 0 < found["rollup"] < 2000
    assert found["usage"] == 0


async def test_only_the_edges_of_an_odd_period_are_read_from_jobs(month: Usages) -> None:
    odd = period_of("2026-03-02T03:04:05", "2026-03-27T16:17:18", zone_of("Asia/Kathmandu"))
    found = await read(month.conn, ask(odd, ["day"], CUSTOMER, book="live"))
    assert found["usage"] < 30


async def test_only_the_tail_is_read_from_jobs(month: Usages) -> None:
    await month.turn(START)
    await month.record(*[some_row() for _ in range(7)])
    found = await read(month.conn, ask(MARCH, ["day"], CUSTOMER, book="live"))
    assert found["usage"] == 7
