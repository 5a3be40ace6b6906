"""Usage: reports over a month of jobs, how long the roll-up takes, and what a row takes on disk.

Jobs fall evenly on the month and unevenly on customers: the first of 200 has a fifth of them, and 2,400 series in all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar
from uuid import UUID

from billing.charges.rollup import roll_up
from billing.kit.pool import ACT_FOR, open_pool
from billing.kit.query import Conn, Pool
from billing.reports.jobs import jobs
from billing.reports.margin import margin
from billing.reports.model import Ask, ask
from billing.reports.period import month_of, period_of, zone_of
from billing.reports.usage import usage
from tests.bench.figures import figure
from tests.bench.processes import database

Result = TypeVar("Result")

MONTH = "2026-10"
ROWS_AT_ONCE = 250_000
TIMEOUT_MS = 600_000

SERIES = """
    INSERT INTO billing.usage_series (id, kind, customer_id, project_id, key_id, rate_card_id, book, currency, cost_currency,
                                      model, task, resolution, tier, chip, outcome, labels)
    SELECT uuid(lpad(to_hex(n), 32, '0')), 'charge', uuid(lpad(to_hex(n % 200), 32, 'c')), uuid(lpad(to_hex(n % 400), 32, 'd')),
           uuid(lpad(to_hex(n % 600), 32, 'e')), uuid(lpad('1', 32, 'f')), 'live', 'CNY', 'USD',
           (ARRAY['testcard', 'film', 'story'])[1 + n % 3], 't2v', (ARRAY['720p', '1080p'])[1 + n % 2], 'standard',
           (ARRAY['H100', 'L40S', 'Ascend 910B', 'A10'])[1 + n % 4], 'succeeded', jsonb_build_object('team', chr(97 + n % 5))
    FROM generate_series(0, 2399) n
"""
MONTH_TABLE = """
    CREATE TABLE billing.usage_2026_10 (LIKE billing.usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    SET maintenance_work_mem = '512MB';
"""
ATTACH = """
    ALTER TABLE billing.usage ATTACH PARTITION billing.usage_2026_10
    FOR VALUES FROM ('2026-10-01 00:00+00') TO ('2026-11-01 00:00+00')
"""
ROWS = """
    INSERT INTO billing.usage_2026_10 (at, subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro,
                               requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts)
    SELECT at, uuidv7(at - billing.now()), uuid(lpad(to_hex(floor(2400 * random() ^ 3)::int), 32, '0')),
           8000000, 0, 8000000, 0, 1200000, 8000, 8000, 8000, 0, (random() * 30000)::int, 20000 + (random() * 30000)::int, 0, 1
    FROM (SELECT $1::timestamptz + n * ($2::timestamptz - $1) / $3::int AS at FROM generate_series($4::int, $5::int) n) s
"""


def run(runs: int, rows: int) -> None:
    with database() as (dsn, _):
        asyncio.run(_run(dsn, runs, rows))


async def _run(dsn: str, runs: int, rows: int) -> None:
    async with await open_pool(dsn, name="bench", size_max=2, statement_timeout_ms=TIMEOUT_MS) as pool, pool.acquire() as conn:
        await _load(conn, rows)
        figure("usage", "usage_bytes_per_row", "B", [await _bytes(conn, "billing.usage") / rows])
        figure("usage", "usage_heap_bytes_per_row", "B", [await _heap(conn) / rows])
        await _roll_up(pool, rows)
        sums = await conn.fetchval("SELECT count(*) FROM billing.usage_rollup WHERE width_s = 900")
        figure("usage", "rows_per_rollup_row", "rows", [rows / sums])
        figure("usage", "rollup_bytes_per_usage_row", "B", [await _bytes(conn, "billing.usage_rollup") / rows])
        await _reports(conn, runs)


async def _load(conn: Conn, rows: int) -> None:
    """Fills the month before its indexes are made, which is much faster and leaves them as a month of inserts would."""
    month = month_of(MONTH, zone_of("UTC"))
    await conn.execute(SERIES)
    await conn.execute(MONTH_TABLE)
    started = perf_counter()
    for first in range(0, rows, ROWS_AT_ONCE):
        await conn.execute(ROWS, month.start, month.end, rows, first, min(first + ROWS_AT_ONCE, rows) - 1)
    await conn.execute(ATTACH)
    figure("usage", "load", "rows/s", [rows / (perf_counter() - started)])
    await conn.execute("VACUUM ANALYZE billing.usage, billing.usage_series")


async def _roll_up(pool: Pool, rows: int) -> None:
    started, done = perf_counter(), 0
    async with pool.acquire() as conn:
        while True:
            async with conn.transaction():
                added = await roll_up(conn, rows_max=ROWS_AT_ONCE)
            done += added
            if not added:
                break
        await conn.execute("VACUUM ANALYZE billing.usage_rollup")
    assert done == rows, (done, rows)
    figure("usage", "roll_up", "rows/s", [rows / (perf_counter() - started)])


async def _reports(conn: Conn, runs: int) -> None:
    shanghai, kolkata = zone_of("Asia/Shanghai"), zone_of("Asia/Kolkata")
    month, odd = month_of(MONTH, shanghai), period_of(f"{MONTH}-02T03:04:05", f"{MONTH}-29T16:17:18", kolkata)
    largest = {"organization": ["cccccccc-cccc-cccc-cccc-ccccccccccc0"]}
    small = {"organization": ["cccccccc-cccc-cccc-cccc-cccccccccc96"]}
    asks = {
        "platform.model": ask(month, ["model"], {}, book="live"),
        "platform.organization": ask(month, ["organization"], {}, book="live"),
        "platform.day_model_chip": ask(month, ["day", "model", "chip"], {}, book="live"),
        "platform.odd_edges": ask(odd, ["label:team"], {}, book="live"),
        "largest.day_model": ask(month, ["day", "model"], largest, book="live"),
        "largest.hour": ask(month, ["hour"], largest, book="live"),
        "small.day_key": ask(month, ["day", "key"], small, book="live"),
    }
    for name, want in asks.items():
        await _time(conn, name, runs, lambda want=want: usage(conn, want), of=_of(want))
    await _time(
        conn, "platform.margin", runs, lambda: margin(conn, ask(month, ["organization", "model", "chip"], {}, book="live"))
    )
    for name, filters in {"largest": largest, "small": small}.items():
        want = ask(month, [], filters, book="live")
        await _time(conn, f"{name}.jobs_page", runs, lambda want=want: jobs(conn, want, limit=100), of=_of(want))


def _of(want: Ask) -> UUID | None:
    """A customer's own report is read as that customer, as the API does."""
    return next(iter(want.ids.get("organization", ())), None)


async def _time(conn: Conn, name: str, runs: int, work: Callable[[], Awaitable[Result]], *, of: UUID | None = None) -> None:
    took: list[float] = []
    for _ in range(runs):
        started = perf_counter()
        async with conn.transaction(readonly=True):
            if of is not None:
                await ACT_FOR.run(conn, of)
            await work()
        took.append((perf_counter() - started) * 1000)
    figure("usage", name, "ms", took, most=1000)


async def _bytes(conn: Conn, table: str) -> int:
    return await conn.fetchval(
        "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree($1::regclass)", table
    ) or (await conn.fetchval("SELECT pg_total_relation_size($1::regclass)", table))


async def _heap(conn: Conn) -> int:
    return await conn.fetchval("SELECT sum(pg_relation_size(relid))::bigint FROM pg_partition_tree('billing.usage')")
