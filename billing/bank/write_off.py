"""Write off: give up what a customer will not pay of an invoice."""

from uuid import UUID

from billing.bank import sql
from billing.bank.model import Settlement
from billing.bank.postings import postings
from billing.errors import PaymentConflict, WriteOffRefused
from billing.invoices.read import find_invoice
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import lock_grants
from billing.ledger.model import credit_account_id, wallet_id
from billing.ledger.post import post_all
from billing.stripe.collect import look_again
from billing.stripe.note import open_minor


async def write_off(
    conn: Conn, *, customer_id: UUID, invoice_id: UUID, reference: str, reason: str, amount_minor: int | None = None
) -> Settlement:
    """Books it once per `reference`, the decision's own id, in the caller's transaction; a replay returns it.

    Without an amount it is all that is left of the invoice. Raises UnknownInvoice, WriteOffRefused for more than is left or
    without a reason, and PaymentConflict for a reference that was booked with other contents.
    """
    settlement_id = derived_id("settlement", "write_off", reference)
    invoice = await find_invoice(conn, customer_id, invoice_id)
    if not reason or not reference:
        raise WriteOffRefused("say why, and under which decision")
    # Payments, credit notes and other write-offs of the invoice wait here.
    await lock_grants(conn, {credit_account_id(wallet_id(customer_id, "live", invoice.currency))})
    before = await sql.SETTLEMENT.maybe(conn, settlement_id)
    if before is not None:
        if (before.invoice_id, before.reason) != (invoice_id, reason) or amount_minor not in (None, before.amount_minor):
            raise PaymentConflict(f"{reference} was booked otherwise")
        return before
    left_minor = await open_minor(conn, customer_id, invoice_id)
    amount_minor = left_minor if amount_minor is None else amount_minor
    if not 0 < amount_minor <= left_minor:
        raise WriteOffRefused(f"{invoice.number} has {max(left_minor, 0)} left to pay, not {amount_minor}")
    given_up = await sql.ADD_SETTLEMENT.one(
        conn, settlement_id, "write_off", reference, customer_id, invoice_id, invoice.currency, amount_minor, amount_minor, reason
    )
    await post_all(conn, postings(given_up))
    await look_again(conn, invoice_id)
    return given_up
