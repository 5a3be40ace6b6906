"""Group commit: concurrent callers share one transaction.

While one flush is in flight the next batch gathers; each flush is one set of set-based statements and one
fsync for all its rows. Throughput then grows with load, and a hot wallet is locked once per batch, not once per
request (docs/decisions/0001).
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

import asyncpg
import structlog

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

log = structlog.get_logger(__name__)

TRANSIENT = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    ConnectionError,
    TimeoutError,
    OSError,
)
"""Failures after which the same idempotent write may be sent again; whether it had committed is then read back."""

_GATHER_MAX = 4
"""How often `gather_s` is waited at most: an upper bound of what it can add to a caller's time."""


class CommitUnknown(ConnectionError):
    """The connection was lost after COMMIT was sent; sending the same idempotent batch again reads the outcome back."""


class Overloaded(Exception):
    """More callers wait than the bound allows; ask again later."""


class Coalescer(Generic[Item, Outcome]):
    """Gathers items while a flush is in flight and hands them over together.

    `flush` gets 1…`rows_max` items and returns as many outcomes, in order; an outcome that is an exception is
    raised to its caller. It must be idempotent: after a transient failure the whole batch is sent again, at most
    `tries_max` times, and after any other failure each item is tried alone so that one cannot fail the rest.

    Where several wait already, more are waited for while each `gather_s` brings some: callers that were answered together
    come back together, and a flush costs as much as thirty of its rows. One caller alone never waits.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        *,
        rows_max: int = 512,
        waiting_max: int = 4096,
        gather_s: float = 0.0,
        tries_max: int = 6,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        self.name, self._flush, self._observe = name, flush, observe
        self._rows_max, self._waiting_max, self._gather_s, self._tries_max = rows_max, waiting_max, gather_s, tries_max
        self._waiting: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._running: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> "asyncio.Future[Outcome]":
        """Returns the outcome's future; cancelling the caller does not cancel the write. Raises Overloaded."""
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded(self.name)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._drain(), name=f"coalesce:{self.name}")
        return future

    async def close(self) -> None:
        """Waits for what has been submitted."""
        while self._running is not None:
            await asyncio.wait({self._running})

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                size = min(len(self._waiting), self._rows_max)
                batch = [self._waiting.popleft() for _ in range(size)]
                await self._settle(batch)
        finally:
            self._running = None
            for _, future in self._waiting:
                future.cancel()

    async def _gather(self) -> None:
        for _ in range(_GATHER_MAX if self._gather_s else 0):
            before = len(self._waiting)
            if before == 1:
                return
            await asyncio.sleep(self._gather_s)
            if len(self._waiting) == before:
                return

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        started = perf_counter()
        try:
            outcomes = await self._attempt([item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, TRANSIENT):
                log.exception("batch_split", coalescer=self.name, rows=len(batch))
                for single in batch:
                    await self._settle([single])
                return
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        if self._observe is not None:
            self._observe(len(batch), perf_counter() - started)

    async def _attempt(self, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        failed: list[Exception] = []
        while True:
            try:
                return await self._flush(items)
            except TRANSIENT as error:
                failed.append(error)
            if len(failed) == self._tries_max:
                # A later try that could not even connect does not answer what a lost COMMIT left open.
                raise next((error for error in failed if isinstance(error, CommitUnknown)), failed[-1])
            log.warning("flush_again", coalescer=self.name, attempt=len(failed), error=type(failed[-1]).__name__)
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(0.05 * 3 ** len(failed), 5.0))  # noqa: S311 – jitter, not a secret
