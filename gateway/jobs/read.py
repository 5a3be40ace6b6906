"""Read one job: concurrent readers share a query, so thousands of pollers cost one."""

from collections.abc import Sequence
from uuid import UUID

from billing.kit.batch import Coalescer
from billing.kit.query import Pool
from gateway.errors import NotFound
from gateway.jobs import sql
from gateway.jobs.model import EventRow, JobRow


class JobReader:
    """Coalesced reads by primary key, from the primary."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._jobs = Coalescer("job_reads", self._read_jobs, gather_s=0.001)
        self._events = Coalescer("event_reads", self._read_events)

    async def job(self, org_id: UUID, project_id: UUID, job_id: UUID, *, livemode: bool) -> JobRow:
        """Raises NotFound, also for a job of another organization, project or book."""
        row = await self._jobs.submit((org_id, job_id))
        if row is None or row.project_id != project_id or row.livemode != livemode:
            raise NotFound
        return row

    async def any_job(self, org_id: UUID, job_id: UUID) -> JobRow:
        """For a signed link, which names the organization but no key. Raises NotFound."""
        row = await self._jobs.submit((org_id, job_id))
        if row is None:
            raise NotFound
        return row

    async def events(self, org_id: UUID, job_id: UUID, after_seq: int) -> list[EventRow]:
        """The job's log after `after_seq`, in order."""
        return await self._events.submit((org_id, job_id, after_seq))

    async def _read_jobs(self, keys: Sequence[tuple[UUID, UUID]]) -> list[JobRow | None]:
        distinct = set(keys)
        async with self._pool.acquire(timeout=5) as conn:
            rows = await sql.READ.all(conn, [org_id for org_id, _ in distinct], [job_id for _, job_id in distinct])
        found = {(row.org_id, row.id): row for row in rows}
        return [found.get(key) for key in keys]

    async def _read_events(self, keys: Sequence[tuple[UUID, UUID, int]]) -> list[list[EventRow]]:
        orgs, jobs, afters = zip(*keys, strict=True)
        async with self._pool.acquire(timeout=5) as conn:
            rows = await sql.EVENTS.all(conn, list(orgs), list(jobs), list(afters))
        logs: dict[tuple[UUID, UUID], dict[int, EventRow]] = {}
        for row in rows:
            logs.setdefault((row.org_id, row.job_id), {})[row.seq] = row
        return [[e for seq, e in logs.get((org, job), {}).items() if seq > after] for org, job, after in keys]
