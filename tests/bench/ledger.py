"""Ledger: hold + capture of one job, each durable (fsync on), against pgbench's tpcb-like transaction on the same server.

Both go through coalescers as in production, a connection each: `hot` jobs are all of one wallet, `many` of a thousand in turn.
`flat` repeats 256 concurrent jobs over a history of `--rows` transfers that SQL wrote before.
"""

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import quantiles
from time import perf_counter, process_time
from typing import TypeVar
from uuid import UUID

import msgspec
import uvloop

from billing.errors import BillingError
from billing.kit.batch import Coalescer
from billing.kit.ids import new_id
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool
from billing.ledger.capture import capture
from billing.ledger.hold import hold
from billing.ledger.model import Captured, CaptureRequest, Held, HoldRequest
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, top_up
from gateway.local import postgres
from tests.bench.figures import figure
from tests.bench.history import write_history
from tests.bench.processes import BenchError, cpu_s, database

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

CONCURRENT = (1, 32, 256, 1024)
BUSY = 256
"""Where the goals are. pgbench, a connection for each client, is asked for no more: beyond, it hardly gets them open."""
WALLETS = 1000
FUNDS_MICRO = 10**15
PRICE_MICRO = 4_000_000
WARMUP_S = 0.5
SCALE = 50
"""Of pgbench: fifty branches, so that its own hot rows are not all that is measured."""
PAYLOAD: dict[str, int | str] = {"duration_ms": 4000, "rate_micro_per_s": 1_000_000, "frames": 96, "attempt": 1}


class Run(msgspec.Struct, frozen=True):
    """Jobs per second, the CPU all processes took for one, and how long a hold took."""

    per_s: float
    cpu_us: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def run(runs: int, seconds: float, only: str, rows: int) -> None:
    with database("-c", "max_connections=1200") as (dsn, server):
        _pgbench(dsn, "--initialize", "--init-steps=dtGvp", f"--scale={SCALE}")
        uvloop.run(_measure(dsn, server, runs, seconds, only, rows))


async def _measure(dsn: str, server: int, runs: int, seconds: float, only: str, rows: int) -> None:
    async with await open_pool(dsn, name="bench", size_max=4, statement_timeout_ms=3_600_000) as pool:
        async with pool.acquire() as conn:
            wallets = await _open(conn)
        for concurrent in CONCURRENT:
            if only not in ("", f"c{concurrent}"):
                continue
            ours = {"hot": list[Run](), "many": list[Run]()}
            theirs: list[Run] = []
            for _ in range(runs):
                theirs.append(await asyncio.to_thread(_tpcb, dsn, server, min(concurrent, BUSY), seconds))
                for name, spread in _spreads(wallets):
                    ours[name].append(await _load(pool, server, spread, concurrent, seconds))
            for name, least in (("hot", 10.0), ("many", 6.0)):
                goal = least if concurrent == BUSY else None
                values, cpu = [one.per_s for one in ours[name]], [one.cpu_us for one in ours[name]]
                figure("ledger", f"{name}.c{concurrent}", "jobs/s", values, yardsticks=[one.per_s for one in theirs], least=goal)
                if concurrent >= BUSY:  # else what the server does by itself would be counted for a handful of jobs
                    figure("ledger", f"cpu.{name}.c{concurrent}", "µs/job", cpu, yardsticks=[one.cpu_us for one in theirs])
                figure("ledger", f"hold_p50.{name}.c{concurrent}", "ms", [one.p50_ms for one in ours[name]])
                figure("ledger", f"hold_p99.{name}.c{concurrent}", "ms", [one.p99_ms for one in ours[name]])
        await _disk(pool, server, wallets, seconds)
        if rows:
            await _flat(pool, server, wallets, runs, seconds, rows)
        async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            if not rows and (findings := await verify(conn)):
                raise BenchError(f"the ledger is not sound: {findings[0]}")


async def _open(conn: Conn) -> list[UUID]:
    wallets: list[UUID] = []
    async with conn.transaction():
        for nth in range(WALLETS):
            customer = new_id()
            wallets.append(await open_wallet(conn, customer, "live", "CNY"))
            await top_up(conn, source=f"bench {nth}", customer_id=customer, asset="CNY", amount_micro=FUNDS_MICRO)
    await conn.execute("VACUUM ANALYZE")
    return wallets


async def _load(pool: Pool, server: int, wallets: Sequence[UUID], concurrent: int, seconds: float) -> Run:
    """`concurrent` customers who each wait for one job's hold, then its capture, then ask for the next."""
    holds: Coalescer[HoldRequest, Held] = Coalescer("holds", _in_transaction(pool, hold))
    captures: Coalescer[CaptureRequest, Captured] = Coalescer("captures", _in_transaction(pool, capture))
    waits: list[float] = []
    before = process_time() + cpu_s(server)
    started = perf_counter() + WARMUP_S
    ends = started + seconds

    async def customer(nth: int) -> tuple[int, int]:
        done = counted = 0
        while (asked := perf_counter()) < ends:
            request = HoldRequest(new_id(), wallets[nth % len(wallets)], PRICE_MICRO)
            nth += concurrent
            await holds.submit(request)
            if asked >= started:
                waits.append(perf_counter() - asked)
            await captures.submit(CaptureRequest(request.id, 0, PRICE_MICRO, payload=PAYLOAD))
            done += 1
            counted += started <= perf_counter() < ends
        return done, counted

    jobs = await asyncio.gather(*map(customer, range(concurrent)))
    cpu_us = (process_time() + cpu_s(server) - before) * 1e6 / sum(done for done, _ in jobs)
    cuts = quantiles(waits, n=100)
    return Run(sum(counted for _, counted in jobs) / seconds, cpu_us, cuts[49] * 1000, cuts[98] * 1000)


def _in_transaction(
    pool: Pool, verb: Callable[[Conn, Sequence[Asked]], Awaitable[list[Answer | BillingError]]]
) -> Callable[[Sequence[Asked]], Awaitable[list[Answer | BillingError]]]:
    async def flush(batch: Sequence[Asked]) -> list[Answer | BillingError]:
        async with pool.acquire() as conn, conn.transaction():
            return await verb(conn, batch)

    return flush


async def _disk(pool: Pool, server: int, wallets: Sequence[UUID], seconds: float) -> None:
    """What a job adds to the disk, tables and indexes, for ever."""
    size = (
        "SELECT sum(pg_total_relation_size(c))::bigint FROM unnest(ARRAY['hold', 'transfer', 'entry', 'seal']) AS n,"
        " LATERAL to_regclass('billing.' || n) AS c"
    )
    count = "SELECT count(*) FROM billing.transfer"
    async with pool.acquire() as conn:
        before, jobs = await conn.fetchval(size), await conn.fetchval(count)
        await _load(pool, server, wallets, BUSY, seconds)
        figure("ledger", "disk", "bytes/job", [(await conn.fetchval(size) - before) / (await conn.fetchval(count) - jobs)])


async def _flat(pool: Pool, server: int, wallets: Sequence[UUID], runs: int, seconds: float, rows: int) -> None:
    before = {name: [await _load(pool, server, spread, BUSY, seconds) for _ in range(runs)] for name, spread in _spreads(wallets)}
    async with pool.acquire() as conn:
        await write_history(conn, wallets, rows)
    for name, spread in _spreads(wallets):
        after = [await _load(pool, server, spread, BUSY, seconds) for _ in range(runs)]
        yardsticks = [one.per_s for one in before[name]]
        figure("ledger", f"flat.{name}.{rows}", "jobs/s", [one.per_s for one in after], yardsticks=yardsticks, least=0.8)


def _spreads(wallets: Sequence[UUID]) -> tuple[tuple[str, Sequence[UUID]], ...]:
    return ("hot", wallets[:1]), ("many", wallets)


def _tpcb(dsn: str, server: int, clients: int, seconds: float) -> Run:
    """The default script. So many clients also need their time to connect, which does not count but for CPU."""
    before = _children_cpu_s() + cpu_s(server)
    length = max(round(seconds), 1) + clients // 64
    said = _pgbench(dsn, "--no-vacuum", f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={length}")
    rate = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
    done = re.search(r"processed: (\d+)", said)
    if rate is None or done is None:
        raise BenchError(f"pgbench said {said!r}")
    return Run(float(rate[1]), (_children_cpu_s() + cpu_s(server) - before) * 1e6 / int(done[1]))


def _children_cpu_s() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pgbench(dsn: str, *flags: str) -> str:
    done = subprocess.run([str(Path(postgres._binary("pgbench"))), *flags, dsn], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"pgbench failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
