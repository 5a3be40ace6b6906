"""Quotes: an API process's side. What can be promised now, by the last curve it read; no request waits for the database."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from math import ceil, inf, isfinite
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from billing.kit.batch import TRANSIENT
from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from gateway.errors import FleetBusy
from gateway.fleet.policy.curve import DemandCurve, Quoter, place
from gateway.fleet.policy.model import Quote
from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.fleet.promises import sql
from gateway.fleet.promises.model import decode_curve
from gateway.video import Job, Tier, VideoRequest

log = structlog.get_logger(__name__)

STALE_S = 3.0
"""A curve this old is of a leader that is gone."""
_READ_S = 0.25
_SEEN_S = 2.0
_TESTCARD = "testcard"


class _Wanted(NamedTuple):
    """A job as the scheduler will see it."""

    organization: str
    model: str
    resolution: str
    seconds: float
    tier: Tier


class Promise(msgspec.Struct):
    """A start within `start_s` from now, taken off the curve; `settled_at`: when its transaction had ended at the latest."""

    wanted: _Wanted
    start_s: float
    due_at: float
    settled_at: float | None = None


class Quotes:
    """Made and used on one event loop. `steps`: how many the models make if not told otherwise, by name."""

    def __init__(self, pool: Pool, steps: Mapping[str, int], *, stale_s: float = STALE_S) -> None:
        self._pool, self._steps, self._stale_s = pool, steps, stale_s
        self._id = new_id()
        self._seen = (0, 0)
        self._quoter: Quoter | None = None
        self._curve: DemandCurve | None = None
        self._now, self._heard = 0.0, -inf
        self._counted_at: float | None = None
        self._open: list[Promise] = []

    @asynccontextmanager
    async def following(self) -> AsyncGenerator[None]:
        """Follows the leader, and says that this process quotes, while inside."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._leave()

    def quote(self, org_id: UUID, request: VideoRequest, tier: Tier, *, livemode: bool) -> Quote | None:
        """None where nobody leads, or nobody who has counted this process, or no chip that runs the model is up."""
        return self._quote(self._wanted(org_id, request, tier, livemode=livemode))

    def expected(self, job: Job) -> Job:
        """With where it stands and when it should start, if it waits, and be done; as it is, where nobody can say.

        One that waits starts no later than one that were asked for now, nor than was promised.
        """
        if job.state not in ("queued", "running"):
            return job
        if job.state == "queued":
            job = replace(job, queue_position=self._place(job))
        quoted = self.quote(job.org_id, job.request, job.request.tier, livemode=job.livemode)
        if quoted is None or not isfinite(quoted.likely_s):
            return job if job.state == "running" else replace(job, expected_start_at=job.promised_start_at)
        now, run = datetime.fromtimestamp(self._clock(), UTC), timedelta(seconds=quoted.runtime_s)
        if job.started_at is not None and job.state == "running":
            done_at = now + run * (1.0 - job.progress) if job.frames_done else max(job.started_at + run, now)
            return replace(job, expected_finish_at=done_at)
        starts_at = now + timedelta(seconds=quoted.likely_s)
        if job.promised_start_at is not None:
            starts_at = min(starts_at, max(job.promised_start_at, now))
        return replace(job, expected_start_at=starts_at, expected_finish_at=starts_at + run)

    def _place(self, job: Job) -> int | None:
        """By the last curve, whether or not this process may promise from it."""
        if self._curve is None or self._clock() - self._now > self._stale_s:
            return None
        request, tier = job.request, job.request.tier
        due = job.promised_start_at or job.created_at + timedelta(seconds=DEFAULT.target_s[TIERS.index(tier)])
        model = request.model if job.livemode else _TESTCARD
        return place(self._curve, job.org_id.bytes + job.id.bytes, model, request.resolution, tier, due.timestamp())

    def promise(self, org_id: UUID, request: VideoRequest, *, livemode: bool) -> Promise | None:
        """A start, taken off what is left, which is to be `settled`; None as `quote`. Raises FleetBusy."""
        wanted = self._wanted(org_id, request, request.tier, livemode=livemode)
        quoted = self._quote(wanted)
        if quoted is None:
            return None
        if quoted.start_s is None:
            raise FleetBusy(retry_after_s=ceil(quoted.retry_s))
        made = Promise(wanted, quoted.start_s, self._clock() + quoted.start_s)
        self._open.append(made)
        self._take(made)
        return made

    def settled(self, promises: Sequence[Promise]) -> None:
        """The transaction that was to write them has ended, one way or another; the next curves will know which."""
        now = self._clock()
        for one in promises:
            one.settled_at = now

    async def _run(self) -> None:
        said = -_SEEN_S
        while True:
            try:
                async with self._pool.acquire(timeout=5) as conn:
                    if monotonic() - said >= _SEEN_S:
                        await sql.SEEN.run(conn, self._id)
                        said = monotonic()
                    await self.read(conn)
            except TRANSIENT as error:
                log.warning("curve_not_read", error=type(error).__name__)
            await asyncio.sleep(_READ_S)

    async def read(self, conn: Conn) -> None:
        """Takes over the newest curve, if it is not known yet."""
        asked = monotonic()
        published = await sql.NEWER.maybe(conn, *self._seen)
        if published is not None:
            self._seen = (published.term, published.epoch)
            self._now, self._heard = published.now, asked
            self._follow(published.curve, published.quoters, published.read_at)

    def _clock(self) -> float:
        """The database's time, or a little more: never less, so that what is settled was settled by then."""
        return self._now + monotonic() - self._heard

    def _follow(self, curve: bytes, quoters: Sequence[UUID], read_at: float) -> None:
        """Only a share of what is left is ours, and of what we have promised, what its leader may not have seen is taken off."""
        self._open = [one for one in self._open if one.settled_at is None or one.settled_at >= read_at]
        self._quoter, self._curve = None, decode_curve(curve)
        if self._id not in quoters:
            self._counted_at = None
            return
        self._counted_at = monotonic() if self._counted_at is None else self._counted_at
        if monotonic() - self._counted_at < self._stale_s:
            return  # until then another may quote from a curve that does not count this process
        self._quoter = Quoter(self._curve, 1 / len(quoters), DEFAULT)
        for one in self._open:
            self._take(one)

    def _wanted(self, org_id: UUID, request: VideoRequest, tier: Tier, *, livemode: bool) -> _Wanted:
        """Test jobs run on the test card; run time is proportional to steps (gateway/intake.py)."""
        model = request.model if livemode else _TESTCARD
        effort = request.steps / self._steps.get(model, request.steps)
        return _Wanted(org_id.hex, model, request.resolution, request.max_ms / 1000 * effort, tier)

    def _quote(self, wanted: _Wanted) -> Quote | None:
        now = self._clock()
        if self._quoter is None or now - self._now > self._stale_s:
            return None
        try:
            quoted = self._quoter.quote(*wanted, now)
        except KeyError:
            return None
        return quoted if quoted.runtime_s < inf else None

    def _take(self, one: Promise) -> None:
        if self._quoter is not None:
            with suppress(KeyError):  # of a model that no replica has any more
                self._quoter.promised(*one.wanted, one.due_at)

    async def _leave(self) -> None:
        try:
            async with self._pool.acquire(timeout=1) as conn:
                await sql.GONE.run(conn, self._id)
        except TRANSIENT as error:
            log.info("quoter_not_removed", error=type(error).__name__)
