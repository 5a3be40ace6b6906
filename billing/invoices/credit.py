"""Credit: the only correction of an invoice that was issued. It gives back part of its lines, with their tax."""

from uuid import UUID

import msgspec

from billing.customers.register import customer
from billing.errors import CreditRefused
from billing.invoices import sql
from billing.invoices.finalise import Paper, finalise
from billing.invoices.model import Invoice, Line, Sums
from billing.invoices.read import find_invoice
from billing.kit.apportion import apportion, nearest
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import lock_grant
from billing.ledger.model import credit_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.plans.give_back import credited, given_back
from billing.plans.model import MINOR, Sale
from billing.plans.sell import sale_of_invoice
from billing.plans.sellers import Sellers
from billing.plans.tax import WHOLE_BP


class Credit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is given back of a line (counted from 1), in minor units, as the line states its amount."""

    line: int
    amount_minor: int


async def credit(
    conn: Conn, sellers: Sellers, *, customer_id: UUID, invoice_id: UUID, credits: list[Credit], reason: str, source: str
) -> Invoice:
    """Finalises a credit note once per `source`, in the caller's transaction; a replay returns it.

    Raises UnknownInvoice, and CreditRefused naming the line: more than is left of it after other notes and what came back for
    seconds, or an invoice that was paid from the wallet, whose seconds are returned instead. Then nothing was written.
    """
    note_id = derived_id("credit_note", invoice_id, source)
    invoice = await find_invoice(conn, customer_id, invoice_id)
    if invoice.kind != "invoice" or invoice.paid_minor:
        raise CreditRefused(f"{invoice.number} is not owed; return what was sold instead")
    account = credit_account_id(wallet_id(customer_id, "live", invoice.currency))
    sold = await sale_of_invoice(conn, customer_id, invoice_id)
    # Under these locks nobody else gives back the last of a line, by a note or for seconds.
    if sold is not None:
        await lock_grant(conn, sold.grant_id)
    await lock_grant(conn, account)
    notes = [msgspec.json.decode(row.document, type=Invoice) for row in await sql.CORRECTIONS.all(conn, invoice_id)]
    for note in notes:
        if note.id == note_id:
            return note
    sums = _sums(invoice, await _given(conn, invoice, sold, notes), credits)
    await _take(conn, invoice, credits)
    buyer = await customer(conn, customer_id)
    paper = Paper(
        id=note_id, kind="credit_note", sums=sums, treatment=invoice.treatment, period=invoice.period, corrects=invoice.id,
        corrects_number=invoice.number, reason=reason,
    )  # fmt: skip
    seller = next(one for one in sellers.sellers if one.code == invoice.seller_code)
    now = (await sql.TAKE_SNAPSHOT.one(conn)).at
    note = await finalise(conn, seller, buyer, paper, now)
    posting = Posting(
        kind="credit_note",
        source=str(note.id),
        subject_id=buyer.id,
        book="live",
        asset=invoice.currency,
        amounts={
            "net": note.net_minor * MINOR,
            "tax": note.tax_minor * MINOR,
            "total": note.total_minor * MINOR,
        },
        accounts={"credit": account},
        dimensions={"customer": str(buyer.id)},
        facts={"number": note.number, "corrects": invoice.number},
    )
    await post_all(conn, [posting])
    if sold is not None:
        await credited(conn, sold, note.id, note.net_minor, note.tax_minor)
        await sql.MARK_SALE.run(conn, note.id, note.id)
    return note


async def _take(conn: Conn, invoice: Invoice, credits: list[Credit]) -> None:
    """Takes what is credited out of what is left of lines of usage: what was refunded of their jobs is not credited, too.

    Raises CreditRefused.
    """
    left_micro = {row.line: row.left_micro for row in await sql.LINES.all(conn, invoice.id)}
    taken = [one for one in credits if one.line in left_micro]
    for one in taken:
        if one.amount_minor * MINOR > left_micro[one.line]:
            raise CreditRefused(
                f"line {one.line} of {invoice.number} has {left_micro[one.line] // MINOR} left, not {one.amount_minor}: "
                "the rest came back with its jobs"
            )
    if taken:
        amounts = [one.amount_minor * MINOR for one in taken]
        await sql.CREDIT_LINES.run(conn, invoice.id, [one.line for one in taken], amounts)


class _Given(msgspec.Struct, frozen=True):
    """What was given back so far: of each line, as it states its amount, and the tax of all of it."""

    of: dict[int, int]
    tax_minor: int


async def _given(conn: Conn, invoice: Invoice, sold: Sale | None, notes: list[Invoice]) -> _Given:
    """What a sale invoices is one line; what came back for its seconds counts before there is a note about it."""
    inside = invoice.treatment.inclusive
    if sold is not None:
        back = await given_back(conn, sold)
        return _Given({1: back.net_minor + (back.tax_minor if inside else 0)}, back.tax_minor)
    given: dict[int, int] = {}
    for line in (line for note in notes for line in note.lines):
        nth = int(line.facts["line"])
        given[nth] = given.get(nth, 0) + line.net_minor + (line.tax_minor if inside else 0)
    return _Given(given, sum(note.tax_minor for note in notes))


def _sums(invoice: Invoice, given: _Given, credits: list[Credit]) -> Sums:
    """The tax of a note is what makes the tax of all that was given back right: a whole credit is the whole invoice."""
    if len({one.line for one in credits}) < len(credits) or not credits:
        raise CreditRefused("name at least one line, and each line once")
    for one in credits:
        if not 1 <= one.line <= len(invoice.lines):
            raise CreditRefused(f"{invoice.number} has no line {one.line}")
        left = invoice.lines[one.line - 1].amount_minor - given.of.get(one.line, 0)
        if not 0 < one.amount_minor <= left:
            raise CreditRefused(f"line {one.line} of {invoice.number} has {left} left, not {one.amount_minor}")
    amounts = [one.amount_minor for one in credits]
    tax_minor = max(_tax(invoice, sum(given.of.values()) + sum(amounts)) - given.tax_minor, 0)
    taxes = apportion(tax_minor, amounts)
    inside = taxes if invoice.treatment.inclusive else [0] * len(taxes)
    lines = tuple(
        Line(
            kind="credit", title=invoice.lines[one.line - 1].title, amount_micro=one.amount_minor * MINOR,
            facts={"line": one.line}, amount_minor=one.amount_minor, net_minor=one.amount_minor - part, tax_minor=tax,
        )
        for one, part, tax in zip(credits, inside, taxes, strict=True)
    )  # fmt: skip
    net_minor = sum(line.net_minor for line in lines)
    return Sums(lines, net_minor, tax_minor, net_minor + tax_minor, 0)


def _tax(invoice: Invoice, amount_minor: int) -> int:
    rate = invoice.treatment.rate_bp
    unit = WHOLE_BP + rate if invoice.treatment.inclusive else WHOLE_BP
    return nearest([amount_minor * rate], unit)[1]
