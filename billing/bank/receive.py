"""Receive: a wire came to our bank account for an invoice. A person in finance reads that from the bank's statement."""

from uuid import UUID

from billing.bank import sql
from billing.bank.model import Settlement
from billing.bank.postings import postings
from billing.errors import PaymentConflict, WireRefused
from billing.invoices.read import find_invoice
from billing.kit.ids import derived_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.ledger.grants import lock_grants
from billing.ledger.model import credit_account_id, paid_account_id
from billing.ledger.post import post_all
from billing.ledger.wallets import open_wallet
from billing.plans.events import tell
from billing.plans.model import MINOR
from billing.stripe.collect import look_again
from billing.stripe.note import open_minor


async def receive(
    conn: Conn, *, customer_id: UUID, invoice_id: UUID, reference: str, currency: str, amount_minor: int
) -> Settlement:
    """Books the wire once per `reference`, the bank's own id of it, in the caller's transaction; a replay returns it.

    It pays what is left of the invoice; what is more stands in the wallet. Raises UnknownInvoice, WireRefused for another
    currency or no amount, and PaymentConflict for a reference that was booked with other contents.
    """
    settlement_id = derived_id("settlement", "wire", reference)
    invoice = await find_invoice(conn, customer_id, invoice_id)
    if invoice.kind != "invoice":
        raise WireRefused(f"{invoice.number} is a credit note")
    if currency != invoice.currency:
        raise WireRefused(f"{invoice.number} is in {invoice.currency}, the wire in {currency}; nothing is converted here")
    if amount_minor <= 0 or not reference:
        raise WireRefused("a wire has an amount of more than nothing, and the bank's reference")
    wallet = await open_wallet(conn, customer_id, "live", invoice.currency)
    # Two payments of one invoice, and credit notes, wait for each other here.
    await lock_grants(conn, {credit_account_id(wallet), paid_account_id(wallet)})
    before = await sql.SETTLEMENT.maybe(conn, settlement_id)
    if before is not None:
        if (before.invoice_id, before.amount_minor) != (invoice_id, amount_minor):
            raise PaymentConflict(f"{reference} was booked otherwise")
        return before
    left_minor = max(await open_minor(conn, customer_id, invoice_id), 0)
    invoice_minor = min(amount_minor, left_minor)
    wire = await sql.ADD_SETTLEMENT.one(
        conn, settlement_id, "wire", reference, customer_id, invoice_id, currency, amount_minor, invoice_minor, ""
    )
    await post_all(conn, postings(wire))
    facts: dict[str, int | str] = {
        "id": str(wire.id), "purpose": "invoice", "subject": str(invoice_id), "currency": currency, "amount_minor": amount_minor,
        "amount": format_micro(amount_minor * MINOR, currency),
    }  # fmt: skip
    await tell(conn, "payment.succeeded", str(wire.id), customer_id, facts)
    if invoice_minor:
        await look_again(conn, invoice_id)
        if invoice_minor == left_minor:
            await tell(conn, "invoice.paid", f"{invoice_id}/{wire.id}", customer_id, {"id": str(invoice_id)})
    return wire
