"""Note calls in memory, and write them behind the answers: the log never makes a client wait, and never grows without a bound."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from time import time
from uuid import UUID

import structlog

from billing.kit.batch import TRANSIENT
from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from gateway.requests import sql
from gateway.requests.model import Call
from gateway.telemetry.metrics import unlogged_requests

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_BATCH_MAX = 2000
_WAITING_MAX = 20_000
_Read = tuple[UUID, datetime, UUID | None, UUID, str]


class RequestLog:
    """One per API process. What cannot be written while the database is away waits, up to a bound; what is lost is counted."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._process = new_id()
        self._calls: deque[Call] = deque()
        self._reads: dict[_Read, list[int]] = {}
        self._closing = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._writer = asyncio.create_task(self._run(), name="request-log")

    def note(self, call: Call) -> None:
        if len(self._calls) >= _WAITING_MAX:
            unlogged_requests.inc()
            return
        self._calls.append(call)

    def count(self, org_id: UUID, project_id: UUID | None, caller_id: UUID, route: str, duration_ms: int) -> None:
        """A read that succeeded."""
        minute = datetime.fromtimestamp(int(time()) // 60 * 60, UTC)
        key = (org_id, minute, project_id, caller_id, route)
        if (counted := self._reads.get(key)) is not None:
            counted[0] += 1
            counted[1] += duration_ms
        elif len(self._reads) < _WAITING_MAX:
            self._reads[key] = [1, duration_ms]
        else:
            unlogged_requests.inc()

    async def close(self) -> None:
        """Writes what is left, also the minute that is not over."""
        self._closing.set()
        if self._writer is not None:
            await self._writer
        await self._write(whole=True)

    async def _run(self) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.wait_for(self._closing.wait(), _EVERY_S)
            except TimeoutError:
                await self._write()

    async def _write(self, *, whole: bool = False) -> None:
        """All that waits, a batch at a time; what cannot be written now goes on waiting."""
        now = datetime.now(UTC)
        reads = [key for key in self._reads if whole or (now - key[1]).total_seconds() > 60]
        try:
            while self._calls or reads:
                calls = list(islice(self._calls, _BATCH_MAX))
                async with self._pool.acquire(timeout=5) as conn:
                    await self._add(conn, calls, reads)
                for _ in calls:
                    self._calls.popleft()
                for key in reads:
                    del self._reads[key]
                reads = []
        except TRANSIENT as error:
            log.warning("requests_not_logged_yet", waiting=len(self._calls), error=type(error).__name__)

    async def _add(self, conn: Conn, calls: list[Call], reads: list[_Read]) -> None:
        if calls:
            await sql.ADD_CALLS.run(conn, *[[getattr(call, name) for call in calls] for name in Call.__struct_fields__])
        if reads:
            rows = [(*key, *self._reads[key]) for key in reads]
            await sql.ADD_READS.run(conn, *[list(column) for column in zip(*rows, strict=True)], self._process)
