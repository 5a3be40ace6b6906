"""What customers have saved to be charged later: Stripe keeps it, and we keep what to show of it and which one to charge."""

from collections.abc import Sequence
from uuid import UUID

from billing.kit.query import Conn
from billing.stripe import sql
from billing.stripe.model import SavedMethod
from billing.stripe.wire import Method


async def set_methods(conn: Conn, stripe_customer: str, listed: Sequence[Method]) -> bool:
    """Puts what Stripe lists in place of what we knew, in the caller's transaction. False for a customer that is not ours.

    The one that is charged stays; where it is gone, or there was none, it is the newest that can be.
    """
    payer = await sql.PAYER_AT_STRIPE.maybe(conn, stripe_customer)
    if payer is None:
        return False
    await sql.FORGET_METHODS.run(conn, payer.customer_id, [one.id for one in listed])
    columns = zip(*((one.id, one.type, one.label, one.expires) for one in listed), strict=True)
    if listed:
        await sql.ADD_METHODS.run(conn, payer.customer_id, *[list(column) for column in columns])
    # Nobody is there to be sent to a page, so nothing that works by one.
    chargeable = [one.id for one in listed if one.type == "card"]
    if payer.method_id not in chargeable:
        await sql.PAYER_CHARGES.run(conn, payer.customer_id, chargeable[0] if chargeable else None)
    return True


async def methods(conn: Conn, customer_id: UUID) -> list[SavedMethod]:
    """The customer's, the newest first."""
    return await sql.METHODS.all(conn, customer_id)


async def method_owner(conn: Conn, method_id: str) -> UUID | None:
    found = await sql.METHOD_OWNER.maybe(conn, method_id)
    return found.id if found else None
