"""Finalise: give a document its number and write it, once and for ever."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from billing.customers.model import Customer
from billing.invoices import sql
from billing.invoices.model import Invoice, Kind, Sums
from billing.kit.query import Conn
from billing.plans.calendar import Period, local_day
from billing.plans.events import EventKind, tell
from billing.plans.sell import party_of
from billing.plans.sellers import Seller
from billing.plans.tax import Treatment

_CODES: Mapping[Kind, str] = {"invoice": "", "credit_note": "CN-"}
_TOLD: Mapping[Kind, EventKind] = {"invoice": "invoice.finalised", "credit_note": "credit_note.finalised"}


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be finalised. `counted_micro` counts towards a commitment; `paid`: it was paid before."""

    id: UUID
    kind: Kind
    sums: Sums
    treatment: Treatment
    period: Period | None = None
    paid: bool = False
    subscription_id: UUID | None = None
    counted_micro: int = 0
    corrects: UUID | None = None
    corrects_number: str = ""
    reason: str = ""


async def finalise(conn: Conn, seller: Seller, buyer: Customer, paper: Paper, now: datetime) -> Invoice:
    """Writes the document under the seller's next number of the year, in the caller's transaction.

    The number's row stays locked until the commit, so numbers have no gaps; the ledger's postings are the caller's.
    """
    issued_on = local_day(now, seller.time_zone)
    sequence = (await sql.NEXT_NUMBER.one(conn, seller.code, paper.kind, issued_on.year)).number
    number = f"{seller.prefix}-{_CODES[paper.kind]}{issued_on.year}-{sequence:06d}"
    sums, period = paper.sums, paper.period
    invoice = Invoice(
        id=paper.id, kind=paper.kind, number=number, seller_code=seller.code, seller=seller.party, customer_id=buyer.id,
        buyer=party_of(buyer), language=buyer.language, currency=buyer.currency, time_zone=buyer.time_zone, issued_on=issued_on,
        due_on=issued_on if paper.paid else issued_on + timedelta(days=seller.payment_days), period=period,
        treatment=paper.treatment, lines=sums.lines, net_minor=sums.net_minor, tax_minor=sums.tax_minor,
        total_minor=sums.total_minor, paid_minor=sums.total_minor if paper.paid else 0, rounding_micro=sums.rounding_micro,
        payment="" if paper.paid else seller.payment, corrects=paper.corrects_number, reason=paper.reason,
    )  # fmt: skip
    await sql.ADD_INVOICE.run(
        conn, invoice.id, invoice.kind, seller.code, issued_on.year, sequence, number, buyer.id, paper.subscription_id,
        paper.corrects, buyer.currency, period and period.starts_at, period and period.ends_at, invoice.net_minor,
        invoice.tax_minor, invoice.total_minor, invoice.paid_minor, paper.counted_micro, msgspec.json.encode(invoice),
    )  # fmt: skip
    facts = {
        "id": str(invoice.id), "number": number, "currency": buyer.currency, "total_minor": invoice.total_minor,
        "due_minor": invoice.due_minor,
    }  # fmt: skip
    await tell(conn, _TOLD[paper.kind], str(invoice.id), buyer.id, facts)
    return invoice
