"""Attempts: what one dispatcher runs, from its lease to its end: generate → verify → store, and what becomes of a failure."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from uuid import UUID

import structlog

from gateway.fleet.attend import Attendant
from gateway.fleet.errors import AttemptFailed, BackendUnreachable, RequestRefused
from gateway.fleet.planner import How, Planner
from gateway.fleet.replicas import Replica
from gateway.jobs.model import Delivered, Lease, Placed, cost_micro_usd
from gateway.jobs.settle import Ended, GiveUp, Settlement
from gateway.media.errors import MediaError, VideoRejected
from gateway.produce import Studio
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.telemetry.logs import about

log = structlog.get_logger(__name__)

_RETRY_DELAY_S = 0.5
_STOP_S = 5.0
_FAILED = "The video could not be generated; nothing was charged."


class Attempt:
    """One under way, in a slot of `replica` that was taken for it."""

    def __init__(self, held: Lease, replica: Replica, model: str, price_micro_usd_per_hour: int | None) -> None:
        self.held, self.replica, self.model = held, replica, model
        self.price_micro_usd_per_hour = price_micro_usd_per_hour
        self.frames_done = 0
        self.device_ms = 0
        self.work: asyncio.Task[Delivered] | None = None
        self.how: How = "stopped"
        self.stopped = ""
        """Why the work was cancelled: `cancelled` (by the client), `lost` (the lease), `straggler`, `returned` (we stop)."""

    @property
    def key(self) -> bytes:
        return self.held.ref.key

    @property
    def placed(self) -> Placed:
        row = self.replica.row
        return Placed(self.held, row.name, row.accelerator, self.price_micro_usd_per_hour)

    @property
    def series(self) -> tuple[str, str]:
        """The pool and the model of metrics and of the ledger."""
        return self.replica.row.accelerator, self.held.video().model

    def stop(self, reason: str) -> None:
        if not self.stopped and self.work is not None:
            self.stopped = reason
            self.work.cancel()


class Attempts:
    """All of this process. `finish` writes an end and says what came of it, None where that is unknown or was not ours to
    write; `over` is called when an attempt has ended. Made and used on one event loop.
    """

    def __init__(
        self,
        settings: Settings,
        studio: Studio,
        attendant: Attendant,
        owner: UUID,
        triton_models: Mapping[str, str],
        *,
        finish: Callable[[Settlement | GiveUp], Awaitable[Ended | str | None]],
        over: Callable[[Attempt], None],
    ) -> None:
        self._settings, self._studio, self._attendant, self._owner = settings, studio, attendant, owner
        self._triton_models, self._finish, self._over = triton_models, finish, over
        self.planner: Planner | None = None
        """Of the leadership, while there is one: what began in an earlier one is not its business, but for its slot."""
        self.running: dict[bytes, Attempt] = {}
        """By the key of the job."""
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, attempt: Attempt) -> None:
        self.running[attempt.key] = attempt
        if self.planner is not None:
            self.planner.started(attempt.key, attempt.replica.name)
        if attempt.held.attempt == 1:
            metrics.queue_wait_seconds(attempt.model).observe(attempt.held.waited_s)
        task = asyncio.create_task(self._run(attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def hand_back(self) -> None:
        """Stops all that runs; its jobs go back to the queue."""
        for attempt in list(self.running.values()):
            attempt.stop("returned")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)

    async def _run(self, attempt: Attempt) -> None:
        held = attempt.held
        with about(job_id=str(held.id), attempt=held.attempt):
            try:
                clean = await self._work(attempt)
                self._let_go(attempt)
                if not clean:
                    await self._confirm(attempt)
            finally:
                self._let_go(attempt)
                self._attendant.fleet.give_back(attempt.replica, attempt.model)
                self._over(attempt)

    def _let_go(self, attempt: Attempt) -> None:
        """The attempt is over; the job may run elsewhere, if the database says so."""
        if self.running.get(attempt.key) is not attempt:
            return
        del self.running[attempt.key]
        if self.planner is not None:
            self.planner.ended(attempt.key, attempt.replica.name, attempt.how)
        self._over(attempt)

    async def _confirm(self, attempt: Attempt) -> None:
        """Until the device has stopped working on it, its slot is not given to another job."""
        planner = self.planner
        if planner is not None:
            planner.withhold(attempt, attempt.replica.name, attempt.model)
        try:
            await self._attendant.confirm(attempt.replica, attempt.model)
        finally:
            if planner is not None:
                planner.let_go(attempt)

    async def _work(self, attempt: Attempt) -> bool:
        """Returns whether the model itself has ended the attempt; else it must be seen to have stopped."""
        held, replica = attempt.held, attempt.replica
        frames_total = held.video().frames

        def progressed(frames: int) -> None:
            attempt.frames_done = frames
            if self.planner is not None:
                self.planner.progressed(attempt.key, replica.name, frames / frames_total)

        def left(device_ms: int) -> None:
            attempt.device_ms = device_ms

        log.info("attempt_started", replica=replica.name)
        server, triton_model = self._attendant.server(replica), self._triton_models[attempt.model]
        attempt.work = asyncio.create_task(
            self._studio.produce(held, server, replica.name, triton_model, on_progress=progressed, on_left=left)
        )
        try:
            delivered = await attempt.work
        except asyncio.CancelledError:
            if not attempt.stopped:
                attempt.work.cancel()
                raise
            await self._stopped(attempt)
            return attempt.stopped == "returned"
        except Exception as error:  # noqa: BLE001 – whatever it was, the attempt ended; _failed logs what is not known
            await self._failed(attempt, error)
            return False
        self._attendant.fleet.delivered(replica, attempt.model)
        attempt.how = "delivered"
        await self._delivered(attempt, delivered)
        return True

    async def _delivered(self, attempt: Attempt, delivered: Delivered) -> None:
        ended = await self._finish(Settlement(attempt.held, self._owner, delivered, attempt.device_ms))
        if not isinstance(ended, Ended):
            attempt.how = "stopped"  # the job may wait again, so it is looked for
            log.warning("settlement_superseded")
            metrics.attempts("superseded").inc()
            return
        metrics.attempts("succeeded").inc()
        pool, model = attempt.series
        metrics.generated_seconds(pool, model).inc(delivered.duration_ms / 1000)
        metrics.charged_micro(ended.currency).inc(ended.charged_micro)
        metrics.revenue_micro(pool, model, ended.currency).inc(ended.revenue_micro)
        _accrue(attempt, "succeeded")
        log.info(
            "job_succeeded", delivered_ms=delivered.duration_ms, charged_micro=ended.charged_micro, seconds_ms=ended.charged_ms
        )

    async def _failed(self, attempt: Attempt, error: Exception) -> None:
        """The attempt counts against the job; a request the model can never serve, or one failure too many, ends it."""
        held, replica, cause, attempt.how = attempt.held, attempt.replica, "internal", "failed"
        refused = isinstance(error, RequestRefused)
        match error:
            case BackendUnreachable():
                self._attendant.fleet.saw(replica, (), str(error))
            case AttemptFailed() | VideoRejected() if not refused:
                self._blame(attempt)
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
            device_ms=attempt.device_ms,
            delay_s=_RETRY_DELAY_S,
        )
        await self._give_up(attempt, end)

    async def _stopped(self, attempt: Attempt) -> None:
        """The work was cancelled on purpose; what that means for the job is decided by its state in the database."""
        log.info("attempt_stopped", reason=attempt.stopped)
        metrics.attempts(attempt.stopped).inc()
        if attempt.stopped == "lost":
            return
        straggled = attempt.stopped == "straggler"
        if straggled:
            self._blame(attempt)
        end = GiveUp(
            lease=attempt.held,
            owner=self._owner,
            final=straggled and attempt.held.failures + 1 >= self._settings.attempts_max,
            code="generation_failed" if straggled else attempt.stopped,
            public=_FAILED,
            internal=f"stopped: {attempt.stopped}",
            device_ms=attempt.device_ms,
            counts=straggled,
        )
        await self._give_up(attempt, end)

    async def _give_up(self, attempt: Attempt, end: GiveUp) -> None:
        state = await self._finish(end)
        if state is not None:
            _accrue(attempt, "cancelled" if state == "cancelled" else "failed" if end.counts else "returned")

    def _blame(self, attempt: Attempt) -> None:
        """It speaks against the model on this replica."""
        self._attendant.fleet.failed(attempt.replica, attempt.model, monotonic())
        attempt.how = "blamed"


def _accrue(attempt: Attempt, outcome: str) -> None:
    """What the ledger accrues for it once its job has ended."""
    pool, model = attempt.series
    metrics.device_seconds(pool, model, outcome).inc(attempt.device_ms / 1000)
    cost_micro = cost_micro_usd(attempt.device_ms, attempt.price_micro_usd_per_hour)
    metrics.attempt_cost_micro_usd(pool, model, outcome).inc(cost_micro)
