"""Lease: who runs a job now. Every write of an attempt names the attempt number (the fence) and the owner."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from billing.kit.query import Conn
from gateway.jobs import sql
from gateway.jobs.model import JobRef, Lease


async def lease(conn: Conn, owner: UUID, models: Sequence[str], *, limit: int, ttl_s: float, retention_s: int) -> list[Lease]:
    """Takes up to `limit` queued jobs for `models`, first in dispatch order; they are running when this returns."""
    return await sql.LEASE.all(conn, list(models), limit, owner, ttl_s, retention_s)


async def begin_attempts(conn: Conn, owner: UUID, placed: Sequence[tuple[Lease, str]]) -> None:
    """Notes which replica runs each lease, in the transaction that took them."""
    await sql.BEGIN_ATTEMPTS.run(
        conn,
        [held.org_id for held, _ in placed],
        [held.id for held, _ in placed],
        [held.attempt for held, _ in placed],
        [replica for _, replica in placed],
        owner,
    )


async def heartbeat(conn: Conn, owner: UUID, running: Mapping[JobRef, tuple[int, int]], *, ttl_s: float) -> dict[JobRef, str]:
    """Renews leases and stores progress: `running` maps a job to (attempt, frames done).

    Returns the state of each job that is still ours; one that is missing was lost, one `cancelling` wants to be stopped.
    """
    rows = await sql.HEARTBEAT.all(
        conn,
        [ref.org_id for ref in running],
        [ref.id for ref in running],
        [attempt for attempt, _ in running.values()],
        [frames for _, frames in running.values()],
        owner,
        ttl_s,
    )
    return {JobRef(row.org_id, row.id): row.state for row in rows}
