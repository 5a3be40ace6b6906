"""An organization whose quotas tests set, ask and end: requests go through admission, jobs end as they do in life."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.ledger.model import Finding
from billing.ledger.verify import verify
from billing.ledger.wallets import top_up
from billing.pricing.book import PriceBook, publish
from billing.pricing.model import ModelRates, RateCard
from gateway.access.authenticate import Authenticator
from gateway.access.keys import issue_key
from gateway.access.model import Caller
from gateway.access.organizations import open_organization
from gateway.access.uses import KeyUses
from gateway.admit import Admission
from gateway.errors import QuotaExceeded
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.promises.quotes import Quotes
from gateway.jobs.cancel import cancel
from gateway.jobs.lease import begin_attempts, lease
from gateway.jobs.model import Delivered, JobRef, Placed
from gateway.jobs.settle import GiveUp, Settlement, give_up, settle
from gateway.jobs.verify import verify_jobs
from gateway.quotas.define import NewQuota, create_quota
from gateway.quotas.model import Quota
from gateway.quotas.read import Standing, read_quota
from gateway.quotas.verify import verify_quotas
from gateway.submission import Admitted, Submission, submission
from gateway.video import Artifact, Job, VideoRequest

FUNDS_MICRO = 1_000_000_000
_RATE = ModelRates(1_000_000, {"720p": 10_000}, {"standard": 10_000})
CARD = RateCard("CNY", {"testcard": _RATE, "lamp": _RATE})
FILM = Artifact("video.mp4", "jobs/a/video.mp4", "video/mp4", 100, "0" * 64)


def video(*, seconds: int = 5, model: str = "testcard", end_user: str | None = None) -> VideoRequest:
    return VideoRequest(
        model=model, prompt="a lamp", width=1280, height=720, fps=24, frames=24 * seconds, resolution="720p", ratio="16:9",
        steps=10, guidance=5.0, queue_deadline_s=10**6, end_user=end_user,
    )  # fmt: skip


def render(job: Job) -> bytes:
    return msgspec.json.encode({"id": job.public_id})


class Desk:
    """An organization with a thousand yuan, at one yuan a second, and two keys in one project; every verb in a transaction of its own."""

    def __init__(self, pool: Pool, org_id: UUID, caller: Caller, other: Caller) -> None:
        self.pool, self.org_id, self.caller, self.other = pool, org_id, caller, other
        self.owner = new_id()
        self.admission = self.door()

    def door(self) -> Admission:
        """As one more process has it."""
        return Admission(self.pool, PriceBook(), ComputeCosts({}), Quotes(self.pool, {}), waiting_max=4096)

    async def limit(self, name: str = "q", *, org_id: UUID | None = None, **fields: object) -> Quota:
        """Makes a quota: of 10 seconds a day for the organization, where nothing else is said."""
        said = {"name": name, "scope": "organization", "meter": "generated_ms", "per": "day", "limit": 10_000} | fields
        async with self.pool.acquire() as conn, conn.transaction():
            return await create_quota(conn, org_id or self.org_id, msgspec.convert(said, NewQuota))

    def ask(self, request: VideoRequest, *, caller: Caller | None = None, key: str | None = None) -> Submission:
        return submission(
            caller or self.caller, new_id(), request, dialect="native", status=201, render=render, idempotency_key=key, retry=0
        )

    async def admit(
        self, request: VideoRequest | None = None, *, caller: Caller | None = None, key: str | None = None
    ) -> Admitted:
        return await self.admission.admit(self.ask(request or video(), caller=caller, key=key))

    async def refused(self, request: VideoRequest | None = None, *, caller: Caller | None = None) -> QuotaExceeded:
        try:
            await self.admit(request, caller=caller)
        except QuotaExceeded as error:
            return error
        raise AssertionError("it was admitted")

    async def together(self, *requests: VideoRequest) -> list[bool]:
        """In one batch: which of them were admitted; the others met a quota."""
        outcomes = await asyncio.gather(*[self.admit(one) for one in requests], return_exceptions=True)
        assert all(isinstance(one, Admitted | QuotaExceeded) for one in outcomes), outcomes
        return [isinstance(one, Admitted) for one in outcomes]

    async def deliver(self, job_id: UUID, delivered_ms: int) -> None:
        await self._attempt(job_id, delivered_ms)

    async def fail(self, job_id: UUID) -> None:
        await self._attempt(job_id, None)

    async def _attempt(self, job_id: UUID, delivered_ms: int | None) -> None:
        async with self.pool.acquire() as conn:
            async with conn.transaction():
                (taken,) = await lease(conn, self.owner, [JobRef(self.org_id, job_id)], ttl_s=60, retention_s=3600)
                await begin_attempts(conn, self.owner, [Placed(taken, "replica-1", "h100", 2_700_000)])
            async with conn.transaction():
                if delivered_ms is None:
                    end = GiveUp(
                        lease=taken, owner=self.owner, final=True, code="x", public="x", internal="x", device_ms=100
                    )  # fmt: skip
                    assert await give_up(conn, end) == "failed"
                else:
                    result = Delivered(max(delivered_ms * 24 // 1000, 1), delivered_ms, (FILM,))
                    (ended,) = await settle(conn, [Settlement(taken, self.owner, result, 100)])
                    assert ended is not None

    async def cancel(self, job_id: UUID) -> None:
        async with self.pool.acquire() as conn, conn.transaction():
            assert await cancel(conn, self.org_id, job_id) == "cancelled"

    async def standing(self, quota: Quota, subject: str = "") -> Standing:
        async with self.pool.acquire() as conn:
            (found,) = (await read_quota(conn, self.org_id, quota.id, subject)).standings
            return found

    async def counts(self, quota: Quota, subject: str = "") -> tuple[int, int]:
        """(used, held)."""
        found = await self.standing(quota, subject)
        return found.used, found.held

    async def findings(self) -> list[Finding]:
        async with self.pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            return [*await verify(conn), *await verify_jobs(conn), *await verify_quotas(conn)]


async def open_desk(
    pool: Pool, *, name: str = "acme", time_zone: str | None = None, livemode: Sequence[bool] = (True, True)
) -> Desk:
    async with pool.acquire() as conn, conn.transaction():
        organization = await open_organization(conn, name, "CNY", time_zone)
        await top_up(conn, source=name, customer_id=organization.id, asset="CNY", amount_micro=FUNDS_MICRO)
        await publish(conn, CARD)
        tokens = [
            (await issue_key(conn, organization.id, name=f"k{n}", livemode=live))[1] for n, live in enumerate(livemode)
        ]  # fmt: skip
    authenticator = Authenticator(pool, KeyUses(pool), ttl_s=0)
    return Desk(pool, organization.id, *[await authenticator.caller(token) for token in tokens])
