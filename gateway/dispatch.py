"""Dispatch: lease → route → generate → verify → store → settle → announce.

One process leads per cell (an advisory lock; others stand by). Leases are fenced: every write of an attempt names its
number and its owner, so an owner that lost its lease cannot end the job. Settlement is in the transaction that ends the
attempt; nothing is charged that was not decoded and counted from the stored file.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
from gateway.fleet.attend import Attendant
from gateway.fleet.chips import load_chips
from gateway.fleet.errors import AttemptFailed, BackendUnreachable, RequestRefused
from gateway.fleet.events import FleetEvent
from gateway.fleet.leadership import leadership
from gateway.fleet.planner import How, Planner
from gateway.fleet.policy.model import Decision, Load, Queued, Start, Stop
from gateway.fleet.policy.parameters import DEFAULT, Parameters
from gateway.fleet.replicas import Replica
from gateway.jobs.inbox import Inbox
from gateway.jobs.lease import begin_attempts, database_time, heartbeat, lease
from gateway.jobs.model import Delivered, JobRef, Lease, Placed, Waiting
from gateway.jobs.settle import Ended, GiveUp, Settlement, give_up, settle
from gateway.media.errors import MediaError, VideoRejected
from gateway.media.headroom import Headroom
from gateway.media.pool import DecoderPool
from gateway.media.store import open_store
from gateway.produce import Studio
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.telemetry.logs import about

log = structlog.get_logger(__name__)

_RETRY_DELAY_S = 0.5
_STOP_S = 5.0
_FAILED = "The video could not be generated; nothing was charged."


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


class _Run:
    """An attempt under way."""

    def __init__(self, held: Lease, replica: Replica, model: str) -> None:
        self.held, self.replica, self.model = held, replica, model
        self.frames_done = 0
        self.device_ms = 0
        self.work: asyncio.Task[Delivered] | None = None
        self.how: How = "stopped"
        self.stopped = ""
        """Why the work was cancelled: `cancelled` (by the client), `lost` (the lease), `straggler`, `returned` (we stop)."""

    @property
    def ref(self) -> JobRef:
        return JobRef(self.held.org_id, self.held.id)

    def placed(self) -> Placed:
        row = self.replica.row
        return Placed(self.held, row.name, row.accelerator, row.price_micro_usd_per_hour)

    def stop(self, reason: str) -> None:
        if not self.stopped and self.work is not None:
            self.stopped = reason
            self.work.cancel()


class _Planned(msgspec.Struct, frozen=True):
    """A start that was decided, and the slot that was taken for it."""

    start: Start
    replica: Replica
    model: str

    @property
    def ref(self) -> JobRef:
        assert isinstance(self.start.job, JobRef), "jobs are known by their references"
        return self.start.job


class Dispatcher:
    """The leader's loop and the attempts it runs. Made and used on one event loop."""

    def __init__(self, settings: Settings, pool: Pool, studio: Studio, parameters: Parameters) -> None:
        self._settings, self._pool, self._studio = settings, pool, studio
        self._headroom = Headroom(studio.spool, settings.disk_free_min_bytes)
        self._owner = new_id()
        self._chips = load_chips(settings.catalogue_dir)
        self._models = {model.name: model for model in self._chips.models}
        # A job has one lease, and so one attempt at a time; and a breaker's pause is a setting.
        self._parameters = msgspec.structs.replace(parameters, hedge_share=0.0, breaker_pause_s=settings.breaker_pause_s)
        self._planner: Planner | None = None
        self._inbox = Inbox()
        self._runs: dict[JobRef, _Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = Wake()
        triton_models = {name: model.triton_model for name, model in self._models.items()}
        self._attendant = Attendant(settings, pool, triton_models, self._wake.ring, self._told)
        self._fleet = self._attendant.fleet
        self._endings: Coalescer[Settlement | GiveUp, Ended | str | None] = Coalescer("endings", self._end)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Hears of new jobs, of cancellations and of changes of the fleet while inside."""
        channels = {
            "tallylight_queue": self._wake.ring,
            "tallylight_cancel": self._cancelled,
            "tallylight_fleet": self._attendant.wake.ring,
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
            await run_until(stop, self._lead(), self._beat(), attended())
        finally:
            for run in list(self._runs.values()):
                run.stop("returned")
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_STOP_S)
            attending.cancel()  # not before: it holds the connections of what was handed back
            await asyncio.gather(attending, return_exceptions=True)

    # -- lead: who may lease ---------------------------------------------------------------------------------------------
    async def _lead(self) -> None:
        while True:
            try:
                async with leadership(self._settings, self._wake) as lost:
                    clock = await self._take_over()
                    log.info("leading", owner=str(self._owner))
                    metrics.leader("dispatch").set(1)
                    while not lost.is_set():
                        seen = self._wake.rung
                        await self._fill(clock)
                        await self._wake.wait(seen, self._inbox.wait_s(clock(), self._settings.poll_s))
            except TRANSIENT as error:
                log.warning("leadership_lost", error=type(error).__name__)
            finally:
                self._attendant.leading, self._planner = False, None
                metrics.leader("dispatch").set(0)
            await asyncio.sleep(self._settings.poll_s)

    async def _take_over(self) -> Callable[[], float]:
        """Leads from here on, with nothing but what the database says. Returns a clock that shows its time."""
        await self._attendant.take_over()
        async with self._pool.acquire(timeout=5) as conn:
            began_at, began = await database_time(conn), monotonic()

        def clock() -> float:
            return began_at + monotonic() - began

        self._inbox = Inbox()
        self._planner = Planner(self._chips, self._fleet, self._parameters, clock)
        return clock

    def _told(self, event: FleetEvent) -> None:
        if self._planner is not None:
            self._planner.told(event)

    # -- lease and route ---------------------------------------------------------------------------------------------------
    async def _fill(self, clock: Callable[[], float]) -> None:
        """Takes in what is new in the queue, and begins what the planner decides."""
        planner = self._planner
        assert planner is not None, "only the leader fills"
        await self._take_in(planner, clock)
        if self._headroom.short():
            log.error("spool_full", folder=str(self._studio.spool))
            return
        runs = [run for decision in planner.decide() if (run := self._begin(planner, decision)) is not None]
        if runs:
            await self._lease(planner, runs)

    async def _take_in(self, planner: Planner, clock: Callable[[], float]) -> None:
        async with self._pool.acquire(timeout=5) as conn:
            await self._inbox.read(conn, lambda ref: ref in self._runs or planner.knows(ref))
        for row in self._inbox.due(clock()):
            planner.submit(self._as_queued(row), charged=row.attempt > 0)

    def _as_queued(self, row: Waiting) -> Queued:
        model = self._models.get(row.model)
        steps = row.steps / model.steps_default if model is not None else 1.0
        return Queued(
            row.ref, row.org_id.hex, row.model, row.resolution, row.seconds * steps, row.tier, row.submitted_at, row.promised_at,
            tuple(row.tried),
        )  # fmt: skip

    def _begin(self, planner: Planner, decision: Decision) -> _Planned | None:
        """A start whose slot was taken; what else was decided is under way."""
        match decision:
            case Start(load="") as start:
                model = planner.model_of(start)
                try:
                    return _Planned(start, self._fleet.take(start.replica, model, monotonic()), model)
                except LookupError as refused:
                    log.info("slot_lost", replica=start.replica, reason=str(refused))
                    planner.refused(start.replica, model, start.job)
            case Start(job, name, load, unload):
                self._swap(planner, name, load, unload, job)
            case Load(name, load, unload):
                self._swap(planner, name, load, unload, None)
            case Stop(job):
                for run in self._runs.values():
                    if run.ref == job:
                        run.stop("straggler")
        return None

    def _swap(self, planner: Planner, name: str, load: str, unload: Sequence[str], job: Hashable | None) -> None:
        try:
            self._attendant.swap(name, load, unload)
        except LookupError as refused:
            log.info("swap_refused", replica=name, reason=str(refused))
            planner.refused(name, load, job)

    async def _lease(self, planner: Planner, planned: Sequence[_Planned]) -> None:
        """Starts those that still wait; the others are forgotten, and looked for again."""
        begun: set[JobRef] = set()
        try:
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                held = await lease(
                    conn,
                    self._owner,
                    [one.ref for one in planned],
                    ttl_s=self._settings.lease_ttl_s,
                    retention_s=self._settings.artifact_retention_s,
                )
                leases = {JobRef(one.org_id, one.id): one for one in held}
                runs = [_Run(leases[one.ref], one.replica, one.model) for one in planned if one.ref in leases]
                if runs:
                    await begin_attempts(conn, self._owner, [run.placed() for run in runs])
            begun = set(leases)
            for run in runs:
                self._start(run)
        finally:  # whether or not a lease was committed that failed here, nobody works on it; the clerk will find it
            for one in planned:
                if one.ref not in begun:
                    self._fleet.give_back(one.replica, one.model)
                    planner.ended(one.ref, one.replica.name, "stopped")
                    self._inbox.ask(one.ref)

    def _start(self, run: _Run) -> None:
        self._runs[run.ref] = run
        if self._planner is not None:
            self._planner.started(run.ref, run.replica.name)
        if run.held.attempt == 1:
            metrics.queue_wait_seconds(run.model).observe(run.held.waited_s)
        task = asyncio.create_task(self._attempt(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- generate → verify → store → settle ----------------------------------------------------------------------------
    async def _attempt(self, run: _Run) -> None:
        held, replica = run.held, run.replica
        with about(job_id=str(held.id), attempt=held.attempt):
            try:
                clean = await self._work(run)
                self._let_go(run)
                if not clean:
                    await self._confirm(run)
            finally:
                self._let_go(run)
                self._fleet.give_back(replica, run.model)
                self._wake.ring()

    def _let_go(self, run: _Run) -> None:
        """The attempt is over; the job may run elsewhere, if the database says so."""
        if self._runs.get(run.ref) is not run:
            return
        del self._runs[run.ref]
        if self._planner is not None:
            self._planner.ended(run.ref, run.replica.name, run.how)
        if run.how != "delivered":
            self._inbox.ask(run.ref)
            self._wake.ring()

    async def _confirm(self, run: _Run) -> None:
        """Until the device has stopped working on it, its slot is not given to another job."""
        planner = self._planner
        if planner is not None:
            planner.withhold(run, run.replica.name, run.model)
        try:
            await self._attendant.confirm(run.replica, run.model)
        finally:
            if planner is not None:
                planner.let_go(run, run.replica.name)

    async def _work(self, run: _Run) -> bool:
        """Returns whether the model itself has ended the attempt; else it must be seen to have stopped."""
        held, replica = run.held, run.replica
        frames_total = held.video().frames

        def progressed(frames: int) -> None:
            run.frames_done = frames
            if self._planner is not None:
                self._planner.progressed(run.ref, replica.name, frames / frames_total)

        def left(device_ms: int) -> None:
            run.device_ms = device_ms

        log.info("attempt_started", replica=replica.name)
        server, triton_model = self._attendant.server(replica), self._models[run.model].triton_model
        run.work = asyncio.create_task(
            self._studio.produce(held, server, replica.name, triton_model, on_progress=progressed, on_left=left)
        )
        try:
            delivered = await run.work
        except asyncio.CancelledError:
            if not run.stopped:
                run.work.cancel()
                raise
            await self._stopped(run)
            return run.stopped == "returned"
        except Exception as error:  # noqa: BLE001 – whatever it was, the attempt ended; _failed logs what is not known
            await self._failed(run, error)
            return False
        self._fleet.delivered(replica, run.model)
        run.how = "delivered"
        await self._delivered(run, delivered)
        return True

    async def _delivered(self, run: _Run, delivered: Delivered) -> None:
        settlement = Settlement(run.held, self._owner, delivered, run.device_ms)
        ended = await self._finish(settlement)
        if not isinstance(ended, Ended):
            log.warning("settlement_superseded")
            metrics.attempts("superseded").inc()
            return
        metrics.attempts("succeeded").inc()
        metrics.generated_seconds(run.model).inc(delivered.duration_ms / 1000)
        metrics.charged_micro(ended.currency).inc(ended.charged_micro)
        log.info(
            "job_succeeded", delivered_ms=delivered.duration_ms, charged_micro=ended.charged_micro, seconds_ms=ended.charged_ms
        )

    async def _failed(self, run: _Run, error: Exception) -> None:
        """The attempt counts against the job; a request the model can never serve, or one failure too many, ends it."""
        held, replica, cause, run.how = run.held, run.replica, "internal", "failed"
        refused = isinstance(error, RequestRefused)
        match error:
            case BackendUnreachable():
                self._fleet.saw(replica, (), str(error))
            case AttemptFailed() | VideoRejected() if not refused:
                self._fleet.failed(replica, run.model, monotonic())
                run.how = "blamed"
            case _:
                pass
        if isinstance(error, AttemptFailed | MediaError):
            cause = error.code
        final = refused or held.failures + 1 >= self._settings.attempts_max
        log.warning(
            "attempt_failed", code=cause, replica=replica.name, final=final, exc_info=error if cause == "internal" else None
        )
        metrics.attempts(cause).inc()
        end = GiveUp(
            lease=held,
            owner=self._owner,
            final=final,
            code="request_refused" if refused else "generation_failed",
            public=f"The model refused the request: {error}" if refused else _FAILED,
            internal=f"{cause}: {error.detail if isinstance(error, MediaError) else error}",
            device_ms=run.device_ms,
            delay_s=_RETRY_DELAY_S,
        )
        await self._finish(end)

    async def _stopped(self, run: _Run) -> None:
        """The work was cancelled on purpose; what that means for the job is decided by its state in the database."""
        log.info("attempt_stopped", reason=run.stopped)
        metrics.attempts(run.stopped).inc()
        if run.stopped != "lost":
            straggled = run.stopped == "straggler"
            if straggled:
                self._fleet.failed(run.replica, run.model, monotonic())
                run.how = "blamed"
            end = GiveUp(
                lease=run.held,
                owner=self._owner,
                final=straggled and run.held.failures + 1 >= self._settings.attempts_max,
                code=run.stopped,
                public=_FAILED,
                internal=f"stopped: {run.stopped}",
                device_ms=run.device_ms,
                counts=straggled,
            )
            await self._finish(end)

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
            running = {ref: (run.held.attempt, run.frames_done) for ref, run in self._runs.items()}
            if not running:
                continue
            try:
                async with self._pool.acquire(timeout=5) as conn:
                    states = await heartbeat(conn, self._owner, running, ttl_s=self._settings.lease_ttl_s)
            except TRANSIENT as error:
                log.warning("heartbeat_missed", error=type(error).__name__)
                continue
            for ref in running:
                run = self._runs.get(ref)
                if run is not None and states.get(ref) != "running":
                    run.stop("cancelled" if states.get(ref) == "cancelling" else "lost")

    def _cancelled(self, payload: str) -> None:
        """A client has cancelled a job, or asked to; leases and heartbeats find out too, this is sooner."""
        if not payload:
            return
        org_id, job_id = payload.split()
        ref = JobRef(UUID(org_id), UUID(job_id))
        if (run := self._runs.get(ref)) is not None:
            run.stop("cancelled")
        elif self._planner is not None:
            self._planner.drop(ref)
