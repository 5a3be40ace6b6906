"""Invoice what was sold and credit what was returned: a document for each sale. A janitor's work."""

import msgspec

from billing.customers.register import customers
from billing.invoices import sql
from billing.invoices.finalise import Paper, finalise
from billing.invoices.model import Invoice, Line, LineKind, Sums
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
    done = 0
    for row in rows:
        sale = sale_of(row)
        paper = await _paper(conn, sale)
        if paper is not None:
            invoice = await finalise(conn, sellers.of(sale.currency), buyers[sale.customer_id], paper, taken.at)
            await sql.MARK_SALE.run(conn, sale.id, invoice.id)
            done += 1
    return done


async def _paper(conn: Conn, sale: Sale) -> Paper | None:
    """None for what was returned of a sale that another clerk is about to invoice: its note names that invoice."""
    treatment, corrects = sale.treatment, None
    price_minor = sale.net_minor + (sale.tax_minor if treatment.inclusive else 0)
    if sale.returns is not None:
        corrected = await sql.INVOICE_OF_SALE.maybe(conn, sale.returns)
        if corrected is None:
            return None
        corrects = msgspec.json.decode(corrected.document, type=Invoice)
        # What comes back is worked out before tax, also where the price had it inside.
        treatment, price_minor = msgspec.structs.replace(treatment, inclusive=False), sale.net_minor
    line = Line(
        kind=msgspec.convert(sale.line.kind, LineKind), title=sale.line.title, amount_micro=price_minor * MINOR,
        quantity=sale.line.quantity_ms, unit="ms", period=sale.period, facts=sale.line.facts, amount_minor=price_minor,
        net_minor=sale.net_minor, tax_minor=sale.tax_minor,
    )  # fmt: skip
    return Paper(
        id=derived_id("invoice", sale.id), kind="credit_note" if sale.returns else "invoice",
        sums=Sums((line,), sale.net_minor, sale.tax_minor, sale.net_minor + sale.tax_minor, 0), treatment=treatment,
        period=sale.period, paid=sale.payer == "wallet", corrects=corrects and corrects.id,
        corrects_number=corrects.number if corrects else "",
    )  # fmt: skip
