"""Dispatch: lease → route → generate → verify → store → settle → announce.

One process leads per cell (an advisory lock; others stand by). Its scheduler, filled from the database, decides what runs where
(fleet/policy); what runs is told in attempts.py. Leases are fenced: every write of an attempt names its number and its owner, so
an owner that lost its lease cannot end the job. Settlement is in the transaction that ends the attempt; nothing is charged that
was not decoded and counted from the stored file.
"""

import asyncio
import gc
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from uuid import UUID

import msgspec
import structlog

from billing.kit.batch import TRANSIENT, Coalescer
from billing.kit.ids import new_id
from billing.kit.listen import Listener, Wake
from billing.kit.loops import run_until
from billing.kit.pool import APP_ROLE, open_pool
from billing.kit.query import Pool
from gateway import intake
from gateway.attempts import Attempt, Attempts
from gateway.fleet.attend import Attendant
from gateway.fleet.editions.current import Current
from gateway.fleet.events import FleetEvent
from gateway.fleet.leadership import leadership
from gateway.fleet.planner import Planner
from gateway.fleet.policy.model import Decision, Load, Start, Stop
from gateway.fleet.policy.parameters import DEFAULT, Parameters
from gateway.fleet.pools import fit, price_of
from gateway.fleet.promises.publish import begin_term, keep, publish
from gateway.fleet.replicas import Replica
from gateway.jobs.lease import begin_attempts, heartbeat, lease
from gateway.jobs.model import JobRef, Lease
from gateway.jobs.settle import Ended, GiveUp, Settlement, give_up, settle
from gateway.jobs.waiting.inbox import Inbox, database_time
from gateway.jobs.waiting.model import Flow, Waiting
from gateway.media.headroom import Headroom
from gateway.media.pool import DecoderPool
from gateway.media.store import open_store
from gateway.produce import Studio
from gateway.settings import Settings
from gateway.telemetry import metrics

log = structlog.get_logger(__name__)

_TELL_S = 0.25
_KEEP_S = 60.0


async def dispatch(settings: Settings, stop: asyncio.Event, parameters: Parameters = DEFAULT) -> None:
    """Runs until `stop` is set, then hands unfinished jobs back and returns. Raises SettingsError for missing settings and
    CatalogueError for a catalogue that is wrong.
    """
    settings.require("dsn")
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            await open_pool(settings.dsn.reveal(), name="tallylight-dispatch", role=APP_ROLE, size_max=settings.pool_max)
        )
        decoders = await stack.enter_async_context(DecoderPool(size=2))
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallylight-", dir=settings.spool_dir or None)))
        dispatcher = Dispatcher(settings, pool, Studio(settings, open_store(settings), decoders, spool), parameters)
        await stack.enter_async_context(dispatcher.listening())
        await dispatcher.run(stop)


@contextmanager
def quiet() -> Generator[None]:
    """What is made inside, a queue of a million jobs perhaps, is not searched for garbage again and again."""
    gc.unfreeze()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class _Planned(msgspec.Struct, frozen=True):
    """A start that was decided, and the slot that was taken for it."""

    key: bytes
    replica: Replica
    model: str


class Dispatcher:
    """The leader's loop; made and used on one event loop."""

    def __init__(self, settings: Settings, pool: Pool, studio: Studio, parameters: Parameters) -> None:
        self._settings, self._pool, self._studio = settings, pool, studio
        self._headroom = Headroom(studio.spool, settings.disk_free_min_bytes)
        self._owner = new_id()
        self._catalogue = Current(settings.catalogue_dir)
        self._parameters = msgspec.structs.replace(parameters, breaker_pause_s=settings.breaker_pause_s)
        self._wake = Wake()
        triton_models = self._catalogue.triton_models
        self._attendant = Attendant(
            settings, pool, triton_models, lambda row: fit(self._catalogue.chips, row), changed=self._wake.ring, tell=self._told
        )
        self._fleet = self._attendant.fleet
        self._attempts = Attempts(
            settings, studio, self._attendant, self._owner, triton_models, finish=self._finish, over=self._over
        )
        self._endings: Coalescer[Settlement | GiveUp, Ended | str | None] = Coalescer("endings", self._end)
        self._inbox = Inbox()
        self._began_at, self._began, self._read_at = 0.0, 0.0, 0.0
        self._told_at, self._kept_at = 0.0, 0.0
        self._whole = False
        """Whether the scheduler knows the whole queue yet."""

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Hears of new jobs, of cancellations and of changes of the fleet while inside."""
        channels = {
            "tallylight_queue": self._wake.ring,
            "tallylight_cancel": self._cancelled,
            "tallylight_fleet": self._attendant.wake.ring,
            "tallylight_catalogue": self._catalogue.wake.ring,
        }
        listener = Listener(self._settings.dsn.reveal(), channels)
        listener.start()
        try:
            yield
        finally:
            await listener.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Stands by, leads, beats and attends the fleet until `stop`; then hands back what is running."""
        attending = asyncio.create_task(self._attendant.run())

        async def attended() -> None:
            await asyncio.shield(attending)

        try:
            await run_until(stop, self._lead(), self._beat(), self._follow_catalogue(), attended())
        finally:
            await self._attempts.hand_back()
            attending.cancel()  # not before: it holds the connections of what was handed back
            await asyncio.gather(attending, return_exceptions=True)

    # -- lead: who may lease ---------------------------------------------------------------------------------------------
    async def _lead(self) -> None:
        while True:
            try:
                async with leadership(self._settings, self._wake) as lost:
                    term, planner = await self._take_over()
                    log.info("leading", owner=str(self._owner), term=term)
                    metrics.leader("dispatch").set(1)
                    whole = asyncio.create_task(self._read_whole())
                    try:
                        while not lost.is_set():
                            seen = self._wake.rung
                            await self._fill(planner)
                            if not self._whole and whole.done():
                                self._complete(planner, *whole.result())
                            await self._tell(term, planner)
                            await self._wake.wait(seen, self._inbox.wait_s(self._clock(), min(self._settings.poll_s, _TELL_S)))
                    finally:
                        whole.cancel()
                        await asyncio.gather(whole, return_exceptions=True)
            except TRANSIENT as error:
                log.warning("leadership_lost", error=type(error).__name__)
            finally:
                self._attendant.leading, self._attempts.planner = False, None
                metrics.leader("dispatch").set(0)
            await asyncio.sleep(self._settings.poll_s)

    async def _take_over(self) -> tuple[int, Planner]:
        """Leads from here on, with a scheduler that knows the first jobs of the queue; the rest is read while they start."""
        async with self._pool.acquire(timeout=5) as conn:
            if await self._catalogue.look(conn, leading=True):
                self._fleet.refit()
        await self._attendant.take_over()
        self._inbox = Inbox()
        async with self._pool.acquire(timeout=5) as conn:
            self._began_at, self._began = await database_time(conn), monotonic()
            term, memory = await begin_term(conn)
            self._read_at = self._clock()
            rows = await self._inbox.read_first(conn)
        planner = Planner(self._catalogue.chips, self._fleet, self._parameters, self._clock)
        planner.restore(intake.first(rows, self._catalogue.rows), memory)
        for key, attempt in self._attempts.running.items():  # of an earlier leadership of ours
            planner.withhold(key, attempt.replica.name, attempt.model)
        self._attempts.planner, self._kept_at, self._whole = planner, monotonic(), False
        return term, planner

    async def _read_whole(self) -> tuple[list[Flow], list[Waiting]]:
        async with self._pool.acquire(timeout=5) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            found = await self._inbox.read_whole(conn)
        self._wake.ring()
        return found

    def _complete(self, planner: Planner, flows: Sequence[Flow], others: Sequence[Waiting]) -> None:
        """From here on the scheduler knows the whole queue, and starts can be promised."""
        with quiet():
            planner.complete(intake.backlog(flows, self._catalogue.rows))
        self._inbox.keep(others, self._known(planner))
        self._whole = True

    async def _follow_catalogue(self) -> None:
        await self._catalogue.follow(self._pool, leading=lambda: self._attendant.leading, changed=self._new_catalogue)

    def _new_catalogue(self) -> None:
        """What runs goes on; a replica that may hold none of its models any more, or has no price, gets no more work."""
        if self._attempts.planner is not None:
            self._attempts.planner.reload(self._catalogue.chips)
        self._fleet.refit()
        self._wake.ring()

    def _clock(self) -> float:
        """The database's time, or a little less: what was committed before is seen by a reading that begins now."""
        return self._began_at + monotonic() - self._began

    async def _tell(self, term: int, planner: Planner) -> None:
        """From time to time: the API processes what they may promise, and the next leader what this one has learnt."""
        now = monotonic()
        if not self._whole or now - self._told_at < _TELL_S or (curve := planner.curve()) is None:
            return
        self._told_at = now
        async with self._pool.acquire(timeout=5) as conn:
            await publish(conn, term, curve, read_at=self._read_at)
            if now - self._kept_at >= _KEEP_S:
                self._kept_at = now
                await keep(conn, term, planner.memory())

    def _told(self, event: FleetEvent) -> None:
        if self._attempts.planner is not None:
            self._attempts.planner.told(event)

    # -- lease and route ---------------------------------------------------------------------------------------------------
    async def _fill(self, planner: Planner) -> None:
        """Takes in what is new in the queue, and begins what the planner decides."""
        began_at = self._clock()
        async with self._pool.acquire(timeout=5) as conn:
            await self._inbox.read(conn, self._known(planner))
        for row in self._inbox.due(self._clock()):
            planner.submit(intake.queued(row, self._catalogue.rows), again=row.attempt > 0)
        self._read_at = began_at
        if self._headroom.short():
            log.error("spool_full", folder=str(self._studio.spool))
            return
        planned = [one for decision in planner.decide() if (one := self._begin(planner, decision)) is not None]
        if planned and await self._lease(planner, planned):
            self._wake.ring()  # there may be more

    def _known(self, planner: Planner) -> Callable[[bytes], bool]:
        return lambda key: key in self._attempts.running or planner.knows(key)

    def _begin(self, planner: Planner, decision: Decision) -> _Planned | None:
        """A start whose slot was taken; whatever else was decided is under way."""
        match decision:
            case Start(job=bytes(key), replica=name, load=""):
                model = planner.model_of(decision)
                try:
                    return _Planned(key, self._fleet.take(name, model, monotonic()), model)
                except LookupError as refused:
                    log.info("slot_lost", replica=name, reason=str(refused))
                    planner.refused(name, model, key)
            case Start(job, name, load, unload):
                self._swap(planner, name, load, unload, job)
            case Load(name, load) if not self._whole:  # which models will be wanted is known with the whole queue
                planner.refused(name, load)
            case Load(name, load, unload):
                self._swap(planner, name, load, unload, None)
            case Stop(job=bytes(key)):
                if (attempt := self._attempts.running.get(key)) is not None:
                    attempt.stop("straggler")
            case _:
                pass
        return None

    def _swap(self, planner: Planner, name: str, load: str, unload: Sequence[str], job: Hashable | None) -> None:
        try:
            self._attendant.swap(name, load, unload)
        except LookupError as refused:
            log.info("swap_refused", replica=name, reason=str(refused))
            planner.refused(name, load, job)

    async def _lease(self, planner: Planner, planned: Sequence[_Planned]) -> int:
        """Starts those that still wait; the others are forgotten, and looked for again. Returns how many started."""
        begun: set[bytes] = set()
        try:
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                held = await lease(
                    conn,
                    self._owner,
                    [JobRef.of(one.key) for one in planned],
                    ttl_s=self._settings.lease_ttl_s,
                    retention_s=self._settings.artifact_retention_s,
                )
                leases = {one.ref.key: one for one in held}
                attempts = [self._attempt(leases[one.key], one) for one in planned if one.key in leases]
                if attempts:
                    await begin_attempts(conn, self._owner, [attempt.placed for attempt in attempts])
            begun = set(leases)
            for attempt in attempts:
                self._attempts.begin(attempt)
            return len(attempts)
        finally:  # whether or not a lease was committed that failed here, nobody works on it; the clerk will find it
            for one in planned:
                if one.key not in begun:
                    self._fleet.give_back(one.replica, one.model)
                    planner.ended(one.key, one.replica.name, "stopped")
                    self._inbox.ask(one.key)

    def _attempt(self, held: Lease, planned: _Planned) -> Attempt:
        """At the replica's own price, else what the catalogue says of its chip."""
        row = planned.replica.row
        price = price_of(self._catalogue.chips, row.accelerator, row.price_micro_usd_per_hour)
        return Attempt(held, planned.replica, planned.model, price)

    # -- settle ------------------------------------------------------------------------------------------------------------
    def _over(self, attempt: Attempt) -> None:
        if attempt.how != "delivered":
            self._inbox.ask(attempt.key)
        self._wake.ring()

    async def _finish(self, ending: Settlement | GiveUp) -> Ended | str | None:
        """Writes the end of an attempt. When the database stays away, the lease runs out and the clerk rescues the job."""
        try:
            return await self._endings.submit(ending)
        except Exception as error:
            log.exception("ending_not_written", error=type(error).__name__)
            return None

    async def _end(self, endings: Sequence[Settlement | GiveUp]) -> list[Ended | str | Exception | None]:
        settlements = [ending for ending in endings if isinstance(ending, Settlement)]
        done: dict[UUID, Ended | str | None] = {}
        async with self._pool.acquire(timeout=5) as conn:
            if settlements:
                async with conn.transaction():
                    outcomes = await settle(conn, settlements)
                done |= {one.lease.id: ended for one, ended in zip(settlements, outcomes, strict=True)}
            for ending in endings:
                if isinstance(ending, GiveUp):
                    async with conn.transaction():  # one ledger verb a transaction keeps the order of locks
                        done[ending.lease.id] = await give_up(conn, ending)
        return [done[ending.lease.id] for ending in endings]

    # -- beat: keep what is ours, stop what is not -----------------------------------------------------------------------
    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            running = {one.held.ref: (one.held.attempt, one.frames_done) for one in self._attempts.running.values()}
            if not running:
                continue
            try:
                async with self._pool.acquire(timeout=5) as conn:
                    states = await heartbeat(conn, self._owner, running, ttl_s=self._settings.lease_ttl_s)
            except TRANSIENT as error:
                log.warning("heartbeat_missed", error=type(error).__name__)
                continue
            for ref in running:
                attempt = self._attempts.running.get(ref.key)
                if attempt is not None and states.get(ref) != "running":
                    attempt.stop("cancelled" if states.get(ref) == "cancelling" else "lost")

    def _cancelled(self, payload: str) -> None:
        """A client has cancelled a job, or asked to; leases and heartbeats find out too, this is sooner."""
        if not payload:
            return
        org_id, job_id = payload.split()
        key = JobRef(UUID(org_id), UUID(job_id)).key
        if (attempt := self._attempts.running.get(key)) is not None:
            attempt.stop("cancelled")
        elif self._attempts.planner is not None:
            self._attempts.planner.drop(key)
