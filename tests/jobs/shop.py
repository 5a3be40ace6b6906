"""An organization whose jobs tests put straight where they need them: in the queue, on a lease, at an end."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from billing.charges.hold import hold
from billing.charges.model import ChargeRequest
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.model import Finding, Held
from billing.ledger.verify import verify
from billing.ledger.wallets import top_up
from billing.pricing.model import Terms, encode_terms
from gateway.access.organizations import open_organization
from gateway.jobs import sql
from gateway.jobs.lease import begin_attempts, lease
from gateway.jobs.model import Delivered, JobRef, Lease, Placed
from gateway.jobs.settle import GiveUp, Settlement, give_up, settle
from gateway.jobs.verify import verify_jobs
from gateway.jobs.waiting.inbox import Inbox, database_time
from gateway.jobs.waiting.model import Waiting
from gateway.video import Artifact, InputMedia, VideoRequest

RATE_MICRO = 1_000_000
FUNDS_MICRO = 1_000_000_000
INPUT = InputMedia("first_frame", "inputs/a.png", "0" * 64, "image/png", 64, 64, 100)
FILM = Artifact("video.mp4", "jobs/a/video.mp4", "video/mp4", 100, "0" * 64)


class Shop:
    """An organization with a thousand yuan. One connection; every verb in a transaction of its own."""

    def __init__(self, conn: Conn, org_id: UUID) -> None:
        self.conn, self.org_id = conn, org_id
        self.project_id, self.key_id = new_id(), new_id()
        self.owner = new_id()

    async def enqueue(
        self,
        *,
        tier: str = "standard",
        model: str = "testcard",
        livemode: bool = True,
        rate_micro: int = RATE_MICRO,
        frames: int = 120,
        deadline_s: int = 3600,
        inputs: Sequence[InputMedia] = (),
        promise_s: float | None = None,
    ) -> UUID:
        """Holds and inserts as admission does. A negative deadline has passed already."""
        job_id = new_id()
        request = VideoRequest(
            model=model, prompt="a lamp", width=1280, height=720, fps=24, frames=frames, resolution="720p", ratio="16:9",
            steps=10, guidance=5.0, queue_deadline_s=abs(deadline_s), inputs=tuple(inputs),
        )  # fmt: skip
        terms = Terms(rate_card_id=new_id(), currency="CNY", price_micro=rate_micro)
        asked = ChargeRequest(
            id=job_id, customer_id=self.org_id, book="live" if livemode else "test", terms=terms, quantity=request.max_ms
        )
        async with self.conn.transaction():
            (held,) = await hold(self.conn, [asked])
            assert isinstance(held, Held)
            columns = (
                self.org_id, job_id, self.project_id, self.key_id, livemode, msgspec.json.encode(request), b"f", held.seconds_ms,
                held.amount_micro, None, None, promise_s, 1, "native", model, tier, frames, deadline_s, request.max_ms,
                encode_terms(terms),
            )  # fmt: skip
            assert (await sql.INSERT_JOBS.one(self.conn, *[[value] for value in columns])).jobs == 1
        return job_id

    async def waiting(self) -> list[Waiting]:
        """What a leader reads that knows no job yet."""
        inbox = Inbox()
        await inbox.read(self.conn, lambda _: False)
        return inbox.due(await database_time(self.conn))

    async def lease(self, *, limit: int = 1, ttl_s: float = 60, owner: UUID | None = None) -> list[Lease]:
        """Leases of what waits, and records the attempts. A negative `ttl_s` makes leases that have run out already."""
        async with self.conn.transaction():
            jobs = [JobRef.of(row.key) for row in (await self.waiting())[:limit]]
            taken = await lease(self.conn, owner or self.owner, jobs, ttl_s=ttl_s, retention_s=3600)
            await begin_attempts(self.conn, owner or self.owner, [Placed(one, "replica-1", "h100", 2_700_000) for one in taken])
        return taken

    async def running(self, *, ttl_s: float = 60, rate_micro: int = RATE_MICRO, frames: int = 120) -> Lease:
        """A new job on a lease of ours; nothing else may be queued."""
        job_id = await self.enqueue(rate_micro=rate_micro, frames=frames)
        (taken,) = await self.lease(ttl_s=ttl_s)
        assert taken.id == job_id
        return taken

    def delivered(self, held: Lease, *, duration_ms: int = 5000, owner: UUID | None = None) -> Settlement:
        return Settlement(held, owner or self.owner, Delivered(max(duration_ms * 24 // 1000, 1), duration_ms, (FILM,)), 7000)

    async def give_up(self, held: Lease, *, final: bool = False, counts: bool = True, owner: UUID | None = None) -> str | None:
        end = GiveUp(
            lease=held, owner=owner or self.owner, final=final, code="x", public="x", internal="x", device_ms=7000, counts=counts
        )  # fmt: skip
        async with self.conn.transaction():
            return await give_up(self.conn, end)

    async def settle(self, *settlements: Settlement) -> list[bool]:
        """Which of them ended their job, now or before."""
        async with self.conn.transaction():
            return [ended is not None for ended in await settle(self.conn, settlements)]

    async def state(self, job_id: UUID) -> str:
        return await self.conn.fetchval("SELECT state FROM gateway.job WHERE id = $1", job_id)

    async def log(self, job_id: UUID) -> list[str]:
        rows = await self.conn.fetch("SELECT kind FROM gateway.job_event WHERE job_id = $1 ORDER BY seq", job_id)
        return [row["kind"] for row in rows]

    async def wallet(self, book: str = "live") -> tuple[int, int]:
        """(spent, held)."""
        row = await self.conn.fetchrow(
            "SELECT b.posted, b.held FROM billing.balance b JOIN billing.wallet w ON w.id = b.wallet_id"
            " WHERE w.customer_id = $1 AND w.book = $2",
            self.org_id,
            book,
        )
        assert row is not None
        return (FUNDS_MICRO if book == "live" else 0) - row["posted"], row["held"]

    async def findings(self) -> list[Finding]:
        """What is wrong with the ledger and the jobs, in one snapshot."""
        async with self.conn.transaction(isolation="repeatable_read", readonly=True):
            return await verify(self.conn) + await verify_jobs(self.conn)


async def open_shop(conn: Conn, name: str = "acme") -> Shop:
    async with conn.transaction():
        organization = await open_organization(conn, name, "CNY")
        await top_up(conn, source=name, customer_id=organization.id, asset="CNY", amount_micro=FUNDS_MICRO)
    return Shop(conn, organization.id)
