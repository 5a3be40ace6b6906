"""Record what a try came to: delivered, to be tried again, or given up; and what that says about the endpoint."""

from uuid import UUID

from billing.kit.query import Conn
from gateway.webhooks import sql
from gateway.webhooks.model import DISABLED_AFTER_S, Outcome, pause_s


async def record_try(conn: Conn, org_id: UUID, delivery_id: UUID, endpoint_id: UUID, *, tries: int, outcome: Outcome) -> None:
    """`tries` were made before this one. In the caller's transaction; recording twice counts two tries and no more."""
    pause = None if outcome.delivered or outcome.gone or outcome.lasting else pause_s(tries + 1)
    state = "delivered" if outcome.delivered else "failed" if pause is None else "waiting"
    await sql.RECORD.run(conn, org_id, delivery_id, outcome.took_ms, outcome.status, outcome.error, outcome.answer, state, pause)
    if outcome.delivered:
        await sql.ANSWERED.run(conn, org_id, endpoint_id)
    elif not outcome.ours:
        await sql.FAILED.run(conn, org_id, endpoint_id, outcome.gone, DISABLED_AFTER_S)
