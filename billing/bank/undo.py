"""Undo: a wire or a write-off was booked that should not have been. What it settled is owed again."""

from uuid import UUID

from billing.bank import sql
from billing.bank.model import Settlement
from billing.bank.postings import postings
from billing.errors import UnknownSettlement
from billing.kit.query import Conn
from billing.ledger.reverse import reverse
from billing.stripe.collect import look_again


async def undo(conn: Conn, *, customer_id: UUID, settlement_id: UUID, reason: str) -> Settlement:
    """Reverses it once, in the caller's transaction; again is a replay, whatever the reason.

    Raises UnknownSettlement, and InsufficientFunds where what it put into the wallet has been spent.
    """
    found = await sql.LOCK_SETTLEMENT.maybe(conn, settlement_id, customer_id)
    if found is None:
        raise UnknownSettlement(str(settlement_id))
    if found.undone_at is None:
        for posting in postings(found):
            await reverse(conn, posting.id, reason, filed=True)
        await sql.UNDONE.run(conn, found.id, reason)
        await look_again(conn, found.invoice_id)
    return await sql.SETTLEMENT.one(conn, found.id)
