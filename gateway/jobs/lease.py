"""Lease: who runs a job now. Every write of an attempt names the attempt number (the fence) and the owner."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from billing.kit.query import Conn
from gateway.jobs import sql
from gateway.jobs.model import JobRef, Lease, Placed


async def lease(conn: Conn, owner: UUID, jobs: Sequence[JobRef], *, ttl_s: float, retention_s: int) -> list[Lease]:
    """Takes those of `jobs` that still wait; they are running when this returns."""
    return await sql.LEASE.all(conn, [job.org_id for job in jobs], [job.id for job in jobs], owner, ttl_s, retention_s)


async def begin_attempts(conn: Conn, owner: UUID, placed: Sequence[Placed]) -> None:
    """Notes which replica runs each lease and what its time costs, in the transaction that took them."""
    await sql.BEGIN_ATTEMPTS.run(
        conn,
        [one.lease.org_id for one in placed],
        [one.lease.id for one in placed],
        [one.lease.attempt for one in placed],
        [one.replica for one in placed],
        owner,
        [one.accelerator for one in placed],
        [one.price_micro_usd_per_hour for one in placed],
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
