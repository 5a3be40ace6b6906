"""Invoice what was sold and credit what was returned: a document for each sale. A janitor's work."""

import msgspec

from billing.customers.register import customers
from billing.invoices import sql
from billing.invoices.finalise import Paper, finalise
from billing.invoices.model import Draft, Invoice, add_up
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.plans.model import MINOR, Sale
from billing.plans.sell import sale_of
from billing.plans.sellers import Sellers


async def invoice_sales(conn: Conn, sellers: Sellers, limit: int = 100) -> int:
    """Finalises a document for at most `limit` sales that have none, in the caller's transaction. Returns how many.

    Their amounts are in the ledger already. Safe to run twice and on two machines.
    """
    rows = await sql.LOCK_SALES.all(conn, limit)
    taken = await sql.TAKE_SNAPSHOT.one(conn)
    buyers = await customers(conn, {row.customer_id for row in rows})
    for row in rows:
        sale = sale_of(row)
        invoice = await finalise(conn, sellers.of(sale.currency), buyers[sale.customer_id], await _paper(conn, sale), taken.at)
        await sql.MARK_SALE.run(conn, sale.id, invoice.id)
    return len(rows)


async def _paper(conn: Conn, sale: Sale) -> Paper:
    treatment, corrects = sale.treatment, None
    price_minor = sale.net_minor + (sale.tax_minor if treatment.inclusive else 0)
    if sale.returns is not None:
        # What comes back is worked out before tax, also where the price had it inside.
        treatment, price_minor = msgspec.structs.replace(treatment, inclusive=False), sale.net_minor
        corrected = await sql.INVOICE_OF_SALE.maybe(conn, sale.returns)
        corrects = msgspec.json.decode(corrected.document, type=Invoice) if corrected else None
    draft = Draft(
        kind=sale.line.kind, title=sale.line.title, amount_micro=price_minor * MINOR, quantity=sale.line.quantity_ms, unit="ms",
        period=sale.period, facts=sale.line.facts,
    )  # fmt: skip
    sums = add_up([draft], treatment)
    assert (sums.net_minor, sums.tax_minor) == (sale.net_minor, sale.tax_minor), "a sale is invoiced as it was posted"
    return Paper(
        id=derived_id("invoice", sale.id), kind="credit_note" if sale.returns else "invoice", sums=sums, treatment=treatment,
        period=sale.period, paid=sale.payer == "wallet", corrects=corrects and corrects.id,
        corrects_number=corrects.number if corrects else "",
    )  # fmt: skip
