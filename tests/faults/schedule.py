"""One schedule: load, kill, restart, recovery, checks."""

import asyncio
import hashlib
import random
import statistics
from collections import Counter
from time import monotonic
from uuid import UUID

import asyncpg
import httpx
import msgspec

from billing.kit.money import charge_micro
from billing.ledger.verify import verify
from gateway.jobs.cancel import cancel
from gateway.jobs.verify import verify_jobs
from gateway.video import Artifact, parse_public_id
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO, Cell

VICTIMS = {"api-0": 2, "api-1": 2, "dispatch-0": 3, "dispatch-1": 3, "clerk": 2, "triton": 2, "postgres": 4}
"""The processes that may die and how often each is chosen, relative to the others."""
RECOVERED_WITHIN_S = 60.0
AUDIT_EVERY = 20
_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError, asyncpg.InternalClientError)
_artifacts = msgspec.json.Decoder(tuple[Artifact, ...])


class Order(msgspec.Struct):
    """What a client wants, and what it was told."""

    key: str
    body: dict[str, object]
    cancel_after_s: float | None
    job_id: UUID | None = None
    tries: int = 0


class Outcome(msgspec.Struct, frozen=True):
    seed: int
    victims: tuple[str, ...]
    jobs: int
    retried: int
    states: dict[str, int]
    attempts: int
    recovery_s: float
    """From the kill until every job of the schedule had ended."""
    wall_s: float


class Schedules:
    """Runs schedules on one cell and remembers what came of them."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.outcomes: list[Outcome] = []

    async def run(self, seed: int) -> None:
        """Raises AssertionError when a promise was broken, TimeoutError when something did not recover."""
        started = monotonic()
        rng = random.Random(seed)
        orders = [self._order(rng, seed, n) for n in range(rng.randint(2, 5))]
        victims = self._victims(rng)
        async with httpx.AsyncClient(
            trust_env=False, timeout=4, headers={"authorization": f"Bearer {self._cell.account.live}"}
        ) as http:
            clients = [asyncio.create_task(self._order_until_acknowledged(http, order, random.Random(f"{seed}/{n}")))
                       for n, order in enumerate(orders)]  # fmt: skip
            async with asyncio.timeout(RECOVERED_WITHIN_S):
                await asyncio.sleep(rng.uniform(0, 0.3))
                killed_at = monotonic()
                for victim in victims:
                    await self._cell.kill(victim)
                await asyncio.sleep(rng.choice((0, rng.uniform(0, 0.2))))
                for victim in victims:
                    await self._cell.start(victim)
                await asyncio.gather(*clients)
                await self._ended(orders)
                recovered_s = monotonic() - killed_at
                retried = sum(order.tries > 1 for order in orders)
                await self._same_answers(http, orders)
        states, attempts = await self._check(seed, orders)
        self.outcomes.append(Outcome(seed, victims, len(orders), retried, states, attempts, recovered_s, monotonic() - started))
        if len(self.outcomes) % AUDIT_EVERY == 0:
            await self.audit()

    def _victims(self, rng: random.Random) -> tuple[str, ...]:
        names = [name for name, weight in VICTIMS.items() for _ in range(weight)]
        count = rng.choices((1, 2, 3), (80, 15, 5))[0]
        return tuple(sorted({rng.choice(names) for _ in range(count)}))

    def _order(self, rng: random.Random, seed: int, n: int) -> Order:
        key = f"{seed}-{n}"
        body: dict[str, object] = {
            "model": "testcard", "prompt": f"schedule {seed}", "size": "128x72", "fps": 16, "frames": rng.randint(8, 12),
            "seed": n, "external_id": key,
        }  # fmt: skip
        return Order(key, body, rng.uniform(0, 0.3) if rng.random() < 0.15 else None)

    # -- the clients -------------------------------------------------------------------------------------------------------
    async def _order_until_acknowledged(self, http: httpx.AsyncClient, order: Order, rng: random.Random) -> None:
        await asyncio.sleep(rng.uniform(0, 0.2))
        while order.job_id is None:
            order.job_id = await self._post(http, order, rng)
            if order.job_id is None:
                await asyncio.sleep(rng.uniform(0.02, 0.1))
        if order.cancel_after_s is not None:
            await asyncio.sleep(order.cancel_after_s)
            await self._cancel(order.job_id)

    async def _post(self, http: httpx.AsyncClient, order: Order, rng: random.Random) -> UUID | None:
        order.tries += 1
        try:
            answer = await http.post(
                f"{rng.choice(self._cell.urls)}/v1/jobs", json=order.body, headers={"idempotency-key": order.key}
            )
        except httpx.TransportError:
            return None
        if answer.status_code >= 500 or answer.status_code in (409, 429):  # 429: the fleet that is left can promise nothing now
            return None
        assert answer.status_code == 201, answer.text
        return parse_public_id(answer.json()["id"])

    async def _cancel(self, job_id: UUID) -> None:
        """Once; a client whose cancellation failed may have to live with the video."""
        conn = await self._cell.connect()
        try:
            async with conn.transaction():
                await cancel(conn, self._cell.account.org_id, job_id)
        except (OSError, *_LOST):
            pass
        finally:
            conn.terminate()

    # -- recovery and checks -----------------------------------------------------------------------------------------------
    async def _ended(self, orders: list[Order]) -> None:
        ids = [order.job_id for order in orders]
        while True:
            conn = await self._cell.connect()
            try:
                while True:
                    open_jobs = await conn.fetchval(
                        "SELECT count(*) FROM gateway.job WHERE id = ANY($1) AND finished_at IS NULL", ids
                    )
                    if open_jobs == 0:
                        return
                    await asyncio.sleep(0.03)
            except (OSError, *_LOST):
                continue
            finally:
                conn.terminate()

    async def _same_answers(self, http: httpx.AsyncClient, orders: list[Order]) -> None:
        """Each key answers with the job it was acknowledged for, from either API."""
        for order in orders:
            again = None
            while again is None:
                again = await self._post(http, order, random.Random(order.key))
            assert again == order.job_id, f"{order.key} was acknowledged as {order.job_id}, then as {again}"

    async def _check(self, seed: int, orders: list[Order]) -> tuple[dict[str, int], int]:
        conn = await self._cell.connect()
        try:
            rows = await conn.fetch(
                "SELECT id, state, request->>'external_id' AS key, delivered_ms, frames, frames_total, charged_micro, artifacts,"
                " attempt, failures, error_code FROM gateway.job WHERE request->>'external_id' LIKE $1",
                f"{seed}-%",
            )
            assert {row["key"]: row["id"] for row in rows} == {order.key: order.job_id for order in orders}
            assert len(rows) == len(orders), "a key has two jobs"
            for row in rows:
                if row["state"] == "succeeded":
                    assert row["frames"] == row["frames_total"]
                    assert row["charged_micro"] == charge_micro(row["delivered_ms"], RATE_MICRO)
                    await asyncio.to_thread(self._files, row["artifacts"])
                else:
                    assert row["charged_micro"] == 0
                    assert row["state"] == "cancelled" or row["failures"] >= self._cell.settings.attempts_max, dict(row)
            wallet = await conn.fetchrow(
                "SELECT b.posted, b.held FROM billing.balance b JOIN billing.wallet w ON w.id = b.wallet_id"
                " WHERE w.customer_id = $1 AND w.book = 'live'", self._cell.account.org_id)  # fmt: skip
            charged = await conn.fetchval("SELECT sum(charged_micro)::bigint FROM gateway.job")
            assert wallet is not None
            assert (wallet["posted"], wallet["held"]) == (FUNDS_MICRO - charged, 0)
            return Counter(row["state"] for row in rows), sum(row["attempt"] for row in rows)
        finally:
            await conn.close()

    def _files(self, encoded: str) -> None:
        for artifact in _artifacts.decode(encoded):
            data = (self._cell.folder / "media" / artifact.key).read_bytes()
            assert hashlib.sha256(data).hexdigest() == artifact.sha256

    async def audit(self) -> None:
        """The whole ledger and every job there ever was."""
        conn = await self._cell.connect()
        try:
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                assert await verify(conn) == []
                assert await verify_jobs(conn) == []
        finally:
            await conn.close()


def summary(done: list[Outcome]) -> str:
    """Counts, and per victim: kills | recovery p50 | p90 | p99 | max, in seconds."""
    ends = sum((Counter(o.states) for o in done), Counter[str]())
    lines = [
        f"schedules {len(done)}, jobs {sum(o.jobs for o in done)}, sent more than once {sum(o.retried for o in done)}, "
        f"attempts {sum(o.attempts for o in done)}, ends {dict(ends)}, {sum(o.wall_s for o in done) / len(done):.2f} s a schedule"
    ]
    for kind in ("api", "dispatch", "clerk", "triton", "postgres"):
        hit = [o for o in done if any(v.startswith(kind) for v in o.victims)]
        alone = [o.recovery_s for o in hit if len(o.victims) == 1]
        kills = sum(v.startswith(kind) for o in hit for v in o.victims)
        lines.append(f"| {kind} | {kills} | {_spread(alone)} |")
    several = [o.recovery_s for o in done if len(o.victims) > 1]
    lines.append(f"| several at once | {len(several)} | {_spread(several)} |")
    lines.append(f"| all | {sum(len(o.victims) for o in done)} | {_spread([o.recovery_s for o in done])} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return " | ".join(f"{value:.2f}" for value in values) or "–"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return " | ".join(f"{value:.2f}" for value in (cuts[49], cuts[89], cuts[98], max(values)))
