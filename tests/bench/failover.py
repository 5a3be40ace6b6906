"""A new leader with a long queue in PostgreSQL: from the lock to its first decision. Part of `scheduler`."""

import asyncio
import gc
from datetime import UTC, datetime
from time import perf_counter

from billing.kit.pool import open_pool
from billing.kit.query import Conn
from gateway import intake
from gateway.dispatch import quiet
from gateway.fleet.chips import load_chips
from gateway.fleet.planner import Planner
from gateway.fleet.policy.model import Start
from gateway.fleet.policy.parameters import DEFAULT
from gateway.fleet.pools import fit
from gateway.fleet.registry.model import ReplicaRow
from gateway.fleet.replicas import Replicas
from gateway.jobs.waiting.inbox import Inbox, database_time
from tests.bench.figures import figure
from tests.bench.processes import database

ORGANIZATIONS = 20_000
CHIPS = ("h100", "b200", "rtx5090")
_AT_ONCE = 100_000
_TIMEOUT_MS = 600_000
_JOBS = """
    INSERT INTO gateway.job (org_id, id, project_id, key_id, livemode, dialect, model, tier, request, fingerprint, terms, max_ms,
                             hold_ms, hold_micro, frames_total, created_at, queue_deadline_at)
    SELECT uuid(lpad(to_hex(least(floor(power(random(), -5.0)), $3)::int), 32, 'a')), uuidv7(interval '1 millisecond' * (n - 3600000)),
           uuid(lpad('1', 32, 'b')), uuid(lpad(to_hex(n % 1000), 32, 'c')), true, 'native', model,
           (ARRAY['standard', 'flex', 'priority'])[1 + n % 3],
           jsonb_build_object('model', model, 'prompt', repeat('A lamp on a pier at dusk. ', 12), 'width', 1280, 'height', 720,
                              'fps', 16, 'frames', 81, 'resolution', (ARRAY['480p', '720p', '1080p'])[1 + n % 3], 'steps', 30,
                              'ratio', '16:9', 'guidance', 5.0, 'queue_deadline_s', 86400, 'negative_prompt', ''),
           uuid_send(gen_random_uuid()),
           '{"currency": "CNY", "price_micro": 1000000, "rate_card_id": "01a213b4-6bc2-73c4-8c35-17525e8f6263"}',
           5000, 0, 5000000, 81, billing.now() + interval '1 millisecond' * (n - 3600000), billing.now() + interval '1 day'
    FROM (SELECT n, ($4::text[])[1 + n % cardinality($4::text[])] AS model FROM generate_series($1::int, $2::int) n) s
"""


def run(runs: int, jobs: int, slots: int) -> None:
    with database() as (dsn, _):
        asyncio.run(_run(dsn, runs, jobs, slots))


async def _run(dsn: str, runs: int, jobs: int, slots: int) -> None:
    async with await open_pool(dsn, name="bench", size_max=2, statement_timeout_ms=_TIMEOUT_MS) as pool, pool.acquire() as conn:
        await _write(conn, jobs)
        taken = [await _lead(conn, slots) for _ in range(runs)]
    for place, part in enumerate(("deciding", "read", "arranged", "restored", "whole")):
        figure("scheduler", f"failover.{part}", "s", [one[place] for one in taken], most=3.0 if part == "deciding" else None)


async def _write(conn: Conn, jobs: int) -> None:
    models = [model.name for model in load_chips("").models]
    for start in range(0, jobs, _AT_ONCE):
        await conn.execute(_JOBS, start, min(start + _AT_ONCE, jobs) - 1, ORGANIZATIONS, models, timeout=_TIMEOUT_MS)
    await conn.execute("VACUUM ANALYZE gateway.job", timeout=_TIMEOUT_MS)


async def _lead(conn: Conn, slots: int) -> tuple[float, float, float, float, float]:
    """As `Dispatcher` does it: seconds until the first decision, then for all rows, their columns, the scheduler that knows them,
    and until its own first decision.
    """
    chips = load_chips("")
    models = {model.name: model for model in chips.models}
    replicas = _fleet(slots)
    gc.collect()
    began, now, inbox = perf_counter(), await database_time(conn), Inbox()
    planner = Planner(chips, replicas, DEFAULT, lambda: now)
    planner.restore(intake.first(await inbox.read_first(conn), models))
    assert any(isinstance(one, Start) for one in planner.decide()), "the new leader decides"
    deciding = perf_counter()
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        flows, _ = await inbox.read_whole(conn)
    read = perf_counter()
    with quiet():
        backlog = intake.backlog(flows, models)
        arranged = perf_counter()
        planner.complete(backlog)
    restored = perf_counter()
    assert any(isinstance(one, Start) for one in planner.decide()), "and goes on"
    whole = perf_counter() - began
    return deciding - began, read - deciding, arranged - read, restored - arranged, whole


def _fleet(slots: int) -> Replicas:
    """Eight slots a replica, each with every model that fits."""
    chips = load_chips("")
    names = [model.name for model in chips.models]
    at = datetime.now(tz=UTC)
    rows = [
        ReplicaRow(f"r{n}", "h:1", names, 8, CHIPS[n % len(CHIPS)], 1_000_000, False, 256, b"{}", "api", "active", None, None, None, 1, at)
        for n in range(slots // 8)
    ]  # fmt: skip
    replicas = Replicas(lambda row: fit(chips, row), pause_s=30.0, tell=lambda _: None)
    replicas.follow(rows)
    for replica in replicas.by_name.values():
        replicas.saw(replica, replica.models)
    return replicas
