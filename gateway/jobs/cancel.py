"""Cancel: a queued job ends at once, a running one is told to stop; neither is charged."""

from uuid import UUID

from billing.errors import BillingError
from billing.kit.query import Conn
from billing.ledger.release import release
from gateway.jobs import sql


async def cancel(conn: Conn, org_id: UUID, job_id: UUID) -> str | None:
    """Returns the new state, `cancelled` or `cancelling`; None where there was nothing left to cancel."""
    changed = await sql.CANCEL.maybe(conn, org_id, job_id)
    if changed is None:
        return None
    if changed.state == "cancelled":
        await release_holds(conn, [job_id])
    return changed.state


async def release_holds(conn: Conn, job_ids: list[UUID]) -> None:
    """Gives the holds of jobs that just ended without a result back, in the transaction that ended them.

    Raises BillingError when one was not open: then the job must not end either.
    """
    for outcome in await release(conn, job_ids):
        if isinstance(outcome, BillingError):
            raise outcome
