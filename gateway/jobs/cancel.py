"""Cancel: a queued job ends at once, a running one is told to stop; neither is charged."""

from collections.abc import Sequence
from uuid import UUID

from billing.charges.release import release
from billing.errors import BillingError
from billing.kit.pool import as_platform
from billing.kit.query import Conn
from gateway.jobs import sql
from gateway.jobs.account import ended
from gateway.jobs.model import JobRef
from gateway.quotas.true_up import true_up


async def cancel(conn: Conn, org_id: UUID, job_id: UUID) -> str | None:
    """Returns the new state, `cancelled` or `cancelling`; None where there was nothing left to cancel."""
    changed = await sql.CANCEL.maybe(conn, org_id, job_id)
    if changed is None:
        return None
    if changed.state == "cancelled":
        async with as_platform(conn):
            await release_holds(conn, [JobRef(org_id, job_id)])
    return changed.state


async def release_holds(conn: Conn, jobs: Sequence[JobRef]) -> None:
    """Gives what jobs that just ended without a result held back, of money and quotas; records what their attempts cost us.

    In the transaction that ended them. Raises BillingError when a hold was not open: then the job must not end either.
    """
    if not jobs:
        return
    rows = await sql.ENDING.all(conn, [job.org_id for job in jobs], [job.id for job in jobs])
    for outcome in await release(conn, [ended(row) for row in rows]):
        if isinstance(outcome, BillingError):
            raise outcome
    await true_up(conn, [(row.org_id, row.id) for row in rows if row.counted])
