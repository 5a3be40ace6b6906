"""Access: what a cached key and five stacked quotas cost a request, and how much of the admissions per second they take.

`plain` is an organization without quotas, `stacked` one whose every request counts against five: all of its organization, project,
key, model and end user. Both send the same bytes to the same server, in turns.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, process_time

import msgspec

from billing.kit.pool import open_pool
from billing.kit.query import Pool
from gateway.access.authenticate import Authenticator
from gateway.access.uses import KeyUses
from gateway.quotas.define import NewQuota, create_quota
from gateway.quotas.model import Claim, amounts
from gateway.quotas.pace import ReadPace
from gateway.quotas.reserve import QuotaBook
from tests.bench.client import Plan
from tests.bench.customers import BODY, Customer, http, open_customers
from tests.bench.figures import figure
from tests.bench.processes import Measured, database, http_server, measure, settings

CUSTOMERS = 64
WARMUP_S = 1.0
CALLS = 20_000
_MOST = 999_999_999_999_999
QUOTAS = (
    NewQuota(name="organization", scope="organization", meter="money_micro", per="month", limit=_MOST),
    NewQuota(name="project", scope="project", meter="generated_ms", per="day", limit=_MOST),
    NewQuota(name="key", scope="key", meter="requests", per="minute", rolling=True, limit=_MOST),
    NewQuota(name="model", scope="model", meter="concurrent_jobs", limit=_MOST),
    NewQuota(name="end-user", scope="end_user", meter="requests", per="hour", limit=_MOST),
)


def run(runs: int, seconds: float, only: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder, database() as (dsn, postgres_pid):
        plain, stacked = open_customers(dsn, CUSTOMERS), open_customers(dsn, CUSTOMERS)
        asyncio.run(_in_pool(dsn, lambda pool: _limit(pool, stacked)))
        if only in ("", "cpu"):
            asyncio.run(_in_pool(dsn, lambda pool: _cpu(pool, stacked[0], runs)))
        ours = settings(dsn, Path(folder))
        with http_server("gateway", ours) as pid:
            for name, count, connections in (("hot", 1, 64), ("many", CUSTOMERS, 64), ("hot", 1, 256)):
                if only in ("", f"{name}.c{connections}"):
                    both: tuple[list[Measured], list[Measured]] = [], []
                    for _ in range(runs):
                        for measured, customers in zip(both, (plain[:count], stacked[:count]), strict=True):
                            plan = Plan("127.0.0.1", ours.port, connections, WARMUP_S, seconds, _creates(customers, ours.port))
                            measured.append(measure(plan, pid, postgres_pid))
                    _report(f"{name}.c{connections}", *both)


def _creates(customers: list[Customer], port: int) -> list[bytes]:
    body = msgspec.json.encode({**BODY, "end_user": "viewer-0042"})
    return [http("POST", "/v1/jobs", port, customer.token, body) for customer in customers]


def _report(name: str, plain: list[Measured], stacked: list[Measured]) -> None:
    figure(
        "access", f"five_quotas.{name}", "accepts/s", [m.per_s for m in stacked], yardsticks=[m.per_s for m in plain], least=0.9
    )
    for what, cpu in (("server", Measured.server_us), ("postgres", Measured.postgres_us)):
        figure("access", f"{what}_cpu.{name}", "µs/request", [*map(cpu, stacked)], yardsticks=[*map(cpu, plain)])


async def _in_pool(dsn: str, work: Callable[[Pool], Awaitable[None]]) -> None:
    async with await open_pool(dsn, name="bench", size_max=2) as pool:
        await work(pool)


async def _limit(pool: Pool, customers: list[Customer]) -> None:
    async with pool.acquire() as conn, conn.transaction():
        for customer in customers:
            for quota in QUOTAS:
                await create_quota(conn, customer.org_id, quota)


async def _cpu(pool: Pool, customer: Customer, runs: int) -> None:
    """CPU of this process, per request: the key and the pace of reads; room in five quotas. What a batch costs is not in it."""
    authenticator, pace = Authenticator(pool, KeyUses(pool), ttl_s=3600), ReadPace(10**9)
    caller = await authenticator.caller(customer.token)
    claim = Claim(
        org_id=caller.org_id, livemode=True, project_id=caller.project_id, key_id=caller.key_id, model="testcard",
        end_user="viewer-0042", amounts=amounts(generated_ms=4000, money_micro=4_000_000, images=0),
    )  # fmt: skip
    keys: list[float] = []
    quotas: list[float] = []
    async with pool.acquire() as conn, conn.transaction():
        room = await QuotaBook().room(conn, [claim])
        for _ in range(runs):
            started = process_time()
            for _ in range(CALLS):
                pace.take((await authenticator.caller(customer.token)).key_id, monotonic())
            keys.append((process_time() - started) / CALLS * 1e6)
            started = process_time()
            for _ in range(CALLS):
                room.take(claim)
            quotas.append((process_time() - started) / CALLS * 1e6)
    figure("access", "cached_key", "µs", keys)
    figure("access", "five_quotas", "µs", quotas)
    figure("access", "cached_key_and_five_quotas", "µs", [a + b for a, b in zip(keys, quotas, strict=True)], most=25)
