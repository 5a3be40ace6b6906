"""From what happened to what is to be told: each event to each endpoint that asks for it, once."""

import msgspec

from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.plans.events import events_after
from gateway.webhooks import sql
from gateway.webhooks.model import Delivery, Endpoint


async def post_events(conn: Conn, *, events_max: int = 2000) -> int:
    """Takes the next events, in the caller's transaction, which must be the only one at it. Returns how many were taken."""
    if await sql.ANOTHER_CLUSTER.run(conn):
        await sql.WRITTEN_NOW.run(conn)
        return 1  # what was written now is behind the mark only once this has committed
    taken = (await sql.POST_JOBS.one(conn, events_max)).taken
    return taken + await _post_billing(conn, events_max)


async def _post_billing(conn: Conn, events_max: int) -> int:
    events = await events_after(conn, (await sql.BILLING_READ.one(conn)).position, limit=events_max)
    if not events:
        return 0
    await sql.POST_BILLING.one(
        conn,
        [event.id for event in events],
        [event.customer_id for event in events],
        [event.kind for event in events],
        [bytes(event.data) for event in events],
        [event.created_at for event in events],
    )
    await sql.BILLING_TAKEN.run(conn, events[-1].position)
    return len(events)


async def post_sample(conn: Conn, endpoint: Endpoint, event: str) -> Delivery:
    """Puts an event on its way to one endpoint that did not happen, and says so."""
    return await sql.POST_SAMPLE.one(
        conn, endpoint.org_id, new_id(), endpoint.id, event, endpoint.form, msgspec.json.encode({"sample": True})
    )
