"""Where a job stands in the queue: read at most once a second however many ask."""

from collections.abc import Sequence
from time import monotonic
from uuid import UUID

from billing.kit.batch import Coalescer
from billing.kit.query import Pool
from gateway.jobs import sql

_SEEN_MAX = 10_000


class QueueView:
    """A recent picture of the queue's head, in dispatch order."""

    def __init__(self, pool: Pool, *, ttl_s: float = 1.0) -> None:
        self._pool, self._ttl_s = pool, ttl_s
        self._positions: dict[UUID, int] = {}
        self._read_at = monotonic() - ttl_s
        self._refreshes: Coalescer[UUID, int | None] = Coalescer("queue_view", self._look)

    async def position(self, job_id: UUID) -> int | None:
        """0 for the next job to start; None when it is further back than we look, or not queued any more."""
        if monotonic() - self._read_at < self._ttl_s:
            return self._positions.get(job_id)
        return await self._refreshes.submit(job_id)

    async def _look(self, jobs: Sequence[UUID]) -> list[int | None]:
        if monotonic() - self._read_at >= self._ttl_s:
            async with self._pool.acquire(timeout=5) as conn:
                rows = await sql.QUEUE.all(conn, _SEEN_MAX)
            self._positions = {row.id: place for place, row in enumerate(rows)}
            self._read_at = monotonic()
        return [self._positions.get(job_id) for job_id in jobs]
