"""Dispatch: lease → route → generate → verify → store → settle → announce.

One process leads per cell (an advisory lock; others stand by). Leases are fenced: every write of an attempt names its
number and its owner, so an owner that lost its lease cannot end the job. Settlement is in the transaction that ends the
attempt; nothing is charged that was not decoded and counted from the stored file.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from uuid import UUID

import asyncpg
import structlog

from billing.kit.batch import TRANSIENT, Coalescer
from billing.kit.ids import new_id
from billing.kit.listen import Listener, Wake
from billing.kit.loops import run_until
from billing.kit.pool import APP_ROLE, open_pool
from billing.kit.query import Pool, Record
from gateway.fleet.attend import Attendant
from gateway.fleet.catalogue import load_models
from gateway.fleet.chips import load_chips
from gateway.fleet.errors import AttemptFailed, BackendUnreachable, RequestRefused
from gateway.fleet.replicas import Replica
from gateway.jobs.lease import begin_attempts, heartbeat, lease, waiting_models
from gateway.jobs.model import Delivered, JobRef, Lease, Placed
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

_LEADER_LOCK = 7_281_330_115
_RETRY_DELAY_S = 0.5
_STOP_S = 5.0
_FAILED = "The video could not be generated; nothing was charged."


async def dispatch(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then hands unfinished jobs back and returns. Raises SettingsError for missing settings."""
    settings.require("dsn")
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            await open_pool(settings.dsn.reveal(), name="tallylight-dispatch", role=APP_ROLE, size_max=settings.pool_max)
        )
        decoders = await stack.enter_async_context(DecoderPool(size=2))
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallylight-", dir=settings.spool_dir or None)))
        dispatcher = Dispatcher(settings, pool, Studio(settings, open_store(settings), decoders, spool))
        await stack.enter_async_context(dispatcher.listening())
        await dispatcher.run(stop)


class _Run:
    """An attempt under way."""

    def __init__(self, held: Lease, replica: Replica, model: str) -> None:
        self.held, self.replica, self.model = held, replica, model
        self.frames_done = 0
        self.device_ms = 0
        self.work: asyncio.Task[Delivered] | None = None
        self.stopped = ""
        """Why the work was cancelled: `cancelled` (by the client), `lost` (the lease), `returned` (this process stops)."""

    def placed(self, prices: Mapping[str, int | None]) -> Placed:
        """Where it runs and at what price: the replica's own, else what the catalogue says of its chip."""
        row = self.replica.row
        price = prices.get(row.accelerator) if row.price_micro_usd_per_hour is None else row.price_micro_usd_per_hour
        return Placed(self.held, row.name, row.accelerator, price)

    def stop(self, reason: str) -> None:
        if not self.stopped and self.work is not None:
            self.stopped = reason
            self.work.cancel()


class Dispatcher:
    """The leader's loop and the attempts it runs. Made and used on one event loop."""

    def __init__(self, settings: Settings, pool: Pool, studio: Studio) -> None:
        self._settings, self._pool, self._studio = settings, pool, studio
        self._headroom = Headroom(studio.spool, settings.disk_free_min_bytes)
        self._owner = new_id()
        self._models = load_models(settings.catalogue_dir).by_name()
        self._prices = {one.name: one.price_micro_usd_per_hour for one in load_chips(settings.catalogue_dir).accelerators}
        self._runs: dict[JobRef, _Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = Wake()
        triton_models = {name: model.triton_model for name, model in self._models.items()}
        self._attendant = Attendant(settings, pool, triton_models, self._wake.ring)
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
                async with self._leadership() as lost:
                    await self._attendant.take_over()
                    log.info("leading", owner=str(self._owner))
                    metrics.leader("dispatch").set(1)
                    while not lost.is_set():
                        seen = self._wake.rung
                        await self._fill()
                        await self._wake.wait(seen, self._settings.poll_s)
            except TRANSIENT as error:
                log.warning("leadership_lost", error=type(error).__name__)
            finally:
                self._attendant.leading = False
                metrics.leader("dispatch").set(0)
            await asyncio.sleep(self._settings.poll_s)

    @asynccontextmanager
    async def _leadership(self) -> AsyncGenerator[asyncio.Event]:
        """Waits for the cell's lock on a connection of its own; the event is set when that connection, and the lock, is lost.

        The server ends the connection when it says nothing for as long as a lease lasts (docs/decisions/0032).
        """
        lost = asyncio.Event()

        def ring(_: object) -> None:
            lost.set()
            self._wake.ring()

        session = {"application_name": "tallylight-lead", "idle_session_timeout": str(round(self._settings.lease_ttl_s * 1000))}
        conn: asyncpg.Connection[Record] = await asyncpg.connect(self._settings.dsn.reveal(), timeout=10, server_settings=session)
        conn.add_termination_listener(ring)
        try:
            while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LEADER_LOCK, timeout=10):
                await self._wake.wait(self._wake.rung, self._settings.poll_s)
            staying = asyncio.create_task(self._stay(conn))
            try:
                yield lost
            finally:
                staying.cancel()
        finally:
            conn.terminate()

    async def _stay(self, conn: "asyncpg.Connection[Record]") -> None:
        """Keeps the leader's connection from falling silent; one that does not answer is given up."""
        try:
            while True:
                await asyncio.sleep(self._settings.heartbeat_s)
                await conn.execute("SELECT 1", timeout=self._settings.lease_ttl_s)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("leader_unheard", error=type(error).__name__)
            conn.terminate()

    # -- lease and route ---------------------------------------------------------------------------------------------------
    async def _fill(self) -> None:
        """Takes as many jobs as there are free slots and starts them; has models loaded that jobs still wait for."""
        if self._headroom.short():
            log.error("spool_full", folder=str(self._studio.spool))
            return
        for model in self._fleet.free(monotonic()):
            try:
                runs = await self._lease(model)
            except LookupError as lost:
                log.info("slots_lost", model=model, reason=str(lost))
                continue
            for run in runs:
                self._start(run)
        if loadable := self._attendant.loadable():
            async with self._pool.acquire(timeout=5) as conn:
                self._attendant.place(await waiting_models(conn, loadable))

    async def _lease(self, model: str) -> list[_Run]:
        runs: list[_Run] = []
        try:
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                held = await lease(
                    conn,
                    self._owner,
                    [model],
                    limit=self._fleet.free(monotonic()).get(model, 0),
                    ttl_s=self._settings.lease_ttl_s,
                    retention_s=self._settings.artifact_retention_s,
                )
                for one in held:
                    # One at a time: each that was taken is in the list before the next may fail.
                    replica = self._fleet.take(model, monotonic(), tried=one.tried)
                    runs.append(_Run(one, replica, model))
                if runs:
                    await begin_attempts(conn, self._owner, [run.placed(self._prices) for run in runs])
        except BaseException:
            for run in runs:  # whether or not that was committed, nobody works on them; the clerk will find them
                self._fleet.give_back(run.replica, model)
            raise
        return runs

    def _start(self, run: _Run) -> None:
        self._runs[JobRef(run.held.org_id, run.held.id)] = run
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
                self._runs.pop(JobRef(held.org_id, held.id), None)
                if not clean:
                    await self._attendant.confirm(replica, run.model)
            finally:
                self._runs.pop(JobRef(held.org_id, held.id), None)
                self._fleet.give_back(replica, run.model)
                self._wake.ring()

    async def _work(self, run: _Run) -> bool:
        """Returns whether the model itself has ended the attempt; else it must be seen to have stopped."""
        held, replica = run.held, run.replica

        def progressed(frames: int) -> None:
            run.frames_done = frames

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
        held, replica, cause = run.held, run.replica, "internal"
        refused = isinstance(error, RequestRefused)
        match error:
            case BackendUnreachable():
                self._fleet.saw(replica, (), str(error))
            case AttemptFailed() | VideoRejected() if not refused:
                self._fleet.failed(replica, run.model, monotonic())
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
            end = GiveUp(
                lease=run.held,
                owner=self._owner,
                final=False,
                code=run.stopped,
                public=_FAILED,
                internal=f"stopped: {run.stopped}",
                device_ms=run.device_ms,
                counts=False,
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
        """A client asked to cancel a running job; heartbeats find out too, this is sooner."""
        for ref, run in self._runs.items():
            if str(ref.id) == payload:
                run.stop("cancelled")
