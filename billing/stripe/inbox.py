"""The inbox: what Stripe tells is kept before anything is done about it."""

from billing.kit.query import Conn
from billing.stripe import sql
from billing.stripe.signature import Signed, check_time


async def store_event(conn: Conn, signed: Signed) -> bool:
    """Keeps the event once, in the caller's transaction; False for one that is kept already. Raises WebhookRefused."""
    check_time(signed, (await sql.NOW.one(conn)).at)
    event, told = signed.event, signed.event.data.object
    return await sql.ADD_EVENT.run(conn, event.id, event.type, told.object, told.id, signed.body, event.sent_at) > 0
