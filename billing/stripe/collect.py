"""Collect what invoices leave to pay: charged or asked for, reminded by a calendar, and at its end nothing new may start.

What runs is finished; what was ordered before is delivered and invoiced. Paid, the plan goes on at once.
"""

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from billing.errors import UnknownSubscription
from billing.invoices.model import Invoice
from billing.invoices.read import find_invoice
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.plans.calendar import zone_of
from billing.plans.events import tell
from billing.plans.model import MINOR, ContractPlan
from billing.plans.read import lock_subscription, store
from billing.stripe import sql
from billing.stripe.model import payment_id
from billing.stripe.note import open_minor
from billing.stripe.sql import Collecting


class Step(msgspec.Struct, frozen=True):
    """What happens on a day counted from the day that the invoice is due; None: when it is issued."""

    day: int | None
    does: Literal["ask", "remind", "warn", "stop"]


CALENDAR = (Step(None, "ask"), Step(-3, "remind"), Step(1, "warn"), Step(4, "warn"), Step(8, "warn"), Step(14, "stop"))
"""Each step also charges, where the customer wants to be charged. After the last one it is looked at once a week."""
AGAIN = timedelta(days=7)


async def collect_due(conn: Conn, limit: int = 100) -> int:
    """Takes the next step for at most `limit` invoices, in the caller's transaction. Returns how many. A janitor's work.

    Safe to run twice and on two machines.
    """
    await sql.ADD_COLLECTIONS.run(conn, limit)
    rows = await sql.LOCK_COLLECTIONS.all(conn, limit)
    for row in rows:
        invoice = await find_invoice(conn, row.customer_id, row.invoice_id)
        left_minor = await open_minor(conn, row.customer_id, row.invoice_id)
        if left_minor <= 0:
            await _settle(conn, row)
        else:
            await _take_step(conn, row, invoice, left_minor)
    return len(rows)


async def look_again(conn: Conn, invoice_id: UUID) -> None:
    """Something was paid of the invoice, or taken back: what its next step is shows at once."""
    await sql.LOOK_AGAIN.run(conn, str(invoice_id))


async def _settle(conn: Conn, row: Collecting) -> None:
    """Nothing is left to pay. It is looked at again where a payment is taken back: `LOOK_AGAIN`."""
    await sql.COLLECTION_IS.run(conn, row.invoice_id, "settled", row.step, datetime.max.replace(tzinfo=row.due_at.tzinfo))
    if row.state == "past_due" and not (await sql.OTHERS_PAST_DUE.one(conn, row.customer_id, row.invoice_id)).known:
        await _set_plan(conn, row.customer_id, "past_due", "active")


async def _take_step(conn: Conn, row: Collecting, invoice: Invoice, left_minor: int) -> None:
    now = (await sql.NOW.one(conn)).at
    nth = row.step
    stopped = _at(CALENDAR[-1], invoice) <= now
    if nth < len(CALENDAR) and _at(CALENDAR[nth], invoice) > now:  # looked at early, because something was paid or taken back
        await sql.COLLECTION_IS.run(conn, row.invoice_id, "open", nth, _at(CALENDAR[nth], invoice))
        return
    # Whoever looks late takes the last step that is due and leaves out those before it.
    while nth + 1 < len(CALENDAR) and _at(CALENDAR[nth + 1], invoice) <= now:
        nth += 1
    step = CALENDAR[min(nth, len(CALENDAR) - 1)]
    await _charge(conn, row, invoice, left_minor, nth)
    if nth < len(CALENDAR):
        await _tell(conn, step, invoice, left_minor)
    if stopped:
        await _set_plan(conn, row.customer_id, "active", "past_due")
    later = _at(CALENDAR[nth + 1], invoice) if nth + 1 < len(CALENDAR) else now + AGAIN
    state = "past_due" if stopped else "open"
    await sql.COLLECTION_IS.run(conn, row.invoice_id, state, min(nth + 1, len(CALENDAR)), later)


def _at(step: Step, invoice: Invoice) -> datetime:
    """The first moment of that day, where the customer is."""
    day = invoice.issued_on if step.day is None else invoice.due_on + timedelta(days=step.day)
    return datetime(day.year, day.month, day.day, tzinfo=zone_of(invoice.time_zone))


async def _charge(conn: Conn, row: Collecting, invoice: Invoice, left_minor: int, nth: int) -> None:
    payer = await sql.PAYER.maybe(conn, row.customer_id)
    if payer is None or payer.collects != "charge" or payer.method_id is None:
        return
    if (await sql.PAYING_INVOICE.one(conn, row.invoice_id)).known:
        return
    await sql.ADD_PAYMENT.run(
        conn, payment_id(row.customer_id, f"invoice/{row.invoice_id}/{nth}"), row.customer_id, "invoice", str(row.invoice_id),
        "saved", [payer.method_id], invoice.currency, left_minor, "", False,
    )  # fmt: skip


async def _tell(conn: Conn, step: Step, invoice: Invoice, left_minor: int) -> None:
    facts = {
        "id": str(invoice.id), "number": invoice.number, "currency": invoice.currency, "left_minor": left_minor,
        "due_on": invoice.due_on.isoformat(),
    }  # fmt: skip
    if step.does == "remind":
        await tell(conn, "invoice.reminded", str(invoice.id), invoice.customer_id, facts)
    elif step.does != "ask":
        await tell(conn, "invoice.overdue", f"{invoice.id}/{step.day}", invoice.customer_id, {**facts, "days": step.day or 0})
    if step.does == "stop":
        reason = f"{invoice.number}: {format_micro(left_minor * MINOR, invoice.currency)} was due on {invoice.due_on}"
        await tell(conn, "plan.past_due", str(invoice.id), invoice.customer_id, {"invoice": invoice.number, "reason": reason})


async def _set_plan(
    conn: Conn, customer_id: UUID, before: Literal["active", "past_due"], after: Literal["active", "past_due"]
) -> None:
    """Only a contract is bound to its invoices; a subscription's fee is paid in advance, and its own calendar is in `plans`."""
    try:
        subscription = await lock_subscription(conn, customer_id)
    except UnknownSubscription:
        return
    if isinstance(subscription.plan, ContractPlan) and subscription.state == before:
        await store(conn, msgspec.structs.replace(subscription, state=after))
