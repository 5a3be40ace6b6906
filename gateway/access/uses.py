"""When keys were last used: noted in memory, written down for all keys together every few seconds, never by a request."""

import asyncio
import contextlib
from time import monotonic
from uuid import UUID

import structlog

from billing.kit.batch import TRANSIENT
from billing.kit.query import Pool
from gateway.access import sql

log = structlog.get_logger(__name__)

WRITE_EVERY_S = 10.0


class KeyUses:
    """One per process. What was noted since the last writing is lost with the process: it is news, not a record."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._noted: dict[tuple[UUID, UUID], float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="key-uses")

    def note(self, org_id: UUID, key_id: UUID) -> None:
        self._noted[org_id, key_id] = monotonic()

    async def write(self) -> None:
        """Writes what was noted. Raises what the database raises; then it is lost."""
        noted, self._noted = self._noted, {}
        if noted:
            orgs, keys = zip(*noted, strict=True)
            ages_s = [monotonic() - at for at in noted.values()]
            async with self._pool.acquire(timeout=5) as conn:
                await sql.NOTE_USES.run(conn, orgs, keys, ages_s)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(*TRANSIENT):
            await self.write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write()
            except TRANSIENT as error:
                log.warning("key_uses_lost", error=type(error).__name__)
