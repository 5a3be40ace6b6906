"""Many organizations at once over a few connections, requests broken off and connections cut: nobody is told of another.

`TALLYLIGHT_TEST_TENANT_REQUESTS` says how many requests (1000).
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from litestar.exceptions import LitestarException

from billing.kit.pool import APP_ROLE, BATCH_ROLE
from billing.kit.query import Conn, Pool
from tests.tenants.cases import CASES, Case
from tests.tenants.sides import Side, open_some, served, settings_of, written
from tests.tenants.test_operations import Caller

REQUESTS = int(os.environ.get("TALLYLIGHT_TEST_TENANT_REQUESTS", "1000"))
SIDES, AT_ONCE, CONNECTIONS = 6, 48, 3
CANCELLED, FOREIGN, CUT_EVERY = 0.15, 0.25, 500

LISTS = ("/v1/jobs", "/v1/keys", "/v1/projects", "/v1/members", "/v1/quotas", "/v1/webhooks", "/v1/invoices", "/v1/payments",
         "/v1/events", "/v1/organization", "/v1/payment-methods", "/v1/audit", "/v1/requests", "/v1/paying")  # fmt: skip
CHANGES = [("POST /v1/jobs", Case("", "/v1/jobs", {"model": "testcard", "prompt": "{}", "seconds": 1}, {"idempotency-key": "{}"})),
           ("PATCH /v1/organization", Case("", "/v1/organization", {}, {"if-match": "*"})),
           ("POST /v1/jobs/{job_id}/cancel", Case("", "/v1/jobs/{queued}/cancel"))]  # fmt: skip
READS = [(key, case) for key, cases in CASES.items() if key.startswith("GET ") for case in cases if "pdf" not in key]
_IDS = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|canary-of-\w+")


class Crowd:
    """Who is known by what word; what was answered."""

    def __init__(self, callers: list[Caller], seed: int) -> None:
        self.callers, self.random = callers, random.Random(seed)
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._asked: set[tuple[int, str]] = set()  # the log of one's own calls says what one asked for
        self._owner = {word: n for n, one in enumerate(callers) for word in (one.side.mark, *self._words(one.side))}

    def _words(self, side: Side) -> list[str]:
        return [word for known in (*(one.text for one in side.ids.values()), str(side.org_id)) for word in written(known)]

    async def one(self) -> None:
        me = self.random.randrange(len(self.callers))
        caller, key, case, asked = self.callers[me], *self._choose(me)
        self._asked.update((me, word) for word in written(asked))
        call = asyncio.create_task(caller.ask(key, case, asked))
        if self.random.random() < CANCELLED:
            for _ in range(self.random.randrange(60)):
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait({call})
        if call.cancelled():
            self.answers["cancelled"] += 1
            return
        if isinstance(call.exception(), LitestarException):  # cut off in mid-answer: a client sees its connection break
            self.answers["broken off"] += 1
            return
        answer = call.result()
        self.answers[f"{answer.status // 100}xx"] += 1
        said = (msgspec.json.encode(answer.headers) + answer.body).decode(errors="replace")
        for word in _IDS.findall(said):
            if self._owner.get(word, me) != me and (me, word) not in self._asked:
                self.wrong.append(f"{key} {case.path} as {caller.side.mark} tells {word}: {said[:500]}")

    def _choose(self, me: int) -> tuple[str, Case, str]:
        kind = self.random.random()
        if kind < 0.3:
            path = self.random.choice(LISTS)
            return f"GET {path}", Case("", path), "none"
        if kind < 0.45:
            key, case = self.random.choice(CHANGES)
            return key, case, f"{self.callers[me].side.mark}-{self.random.randrange(10)}"
        key, case = self.random.choice(READS)
        whose = self.random.randrange(len(self.callers)) if self.random.random() < FOREIGN else me
        return key, case, self.callers[whose].side.ids[case.kind].text


@asynccontextmanager
async def crowd(conn: Conn, dsn: str, folder: Path) -> AsyncGenerator[tuple[Crowd, list[Pool]]]:
    settings = settings_of(dsn, folder, pool_max=CONNECTIONS)
    sides = await open_some(conn, settings, [f"canary-of-{n}" for n in range(SIDES)])
    async with served(settings) as app:
        callers = [Caller(app, side) for side in sides]
        for caller in callers:
            await caller.sign()
        yield Crowd(callers, seed=REQUESTS), [app.gateway.pool, app.gateway.reader._pool]


async def cut(conn: Conn, at_most: int) -> None:
    """Ends sessions of the application, whatever they are at."""
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'tallylight-api%' ORDER BY random() LIMIT $1) picked",
        at_most,
    )


async def test_nobody_is_told_of_another(database: Conn, dsn: str, tmp_path: Path) -> None:
    async with crowd(database, dsn, tmp_path) as (all_of_them, pools):
        left = iter(range(REQUESTS))

        async def worker() -> None:
            for n in left:
                if n % CUT_EVERY == CUT_EVERY - 1:
                    await cut(database, 2)
                await all_of_them.one()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
        assert [set(await roles(pool)) for pool in pools] == [{f"{APP_ROLE} "}, {f"{BATCH_ROLE} "}]
    assert all_of_them.wrong == [], "\n".join(all_of_them.wrong[:20])
    counts = all_of_them.answers
    print(dict(sorted(counts.items())))
    assert sum(counts.values()) == REQUESTS and counts["2xx"] > REQUESTS / 3 and counts["cancelled"] and counts["4xx"]


async def roles(pool: Pool) -> list[str]:
    """As whom each connection of a pool would go on; all are taken at once, so that none is missed."""
    taken = [await pool.acquire(timeout=5) for _ in range(CONNECTIONS)]
    try:
        return [
            await one.fetchval("SELECT current_user || ' ' || coalesce(current_setting('tallylight.tenant', true), '')")
            for one in taken
        ]
    finally:
        for one in taken:
            await pool.release(one)
