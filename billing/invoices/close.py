"""Close: invoice what a contract's customer used on account in a period of its own calendar. A janitor's work.

Usage belongs to the period in which it was ordered, like its price. What is settled after the close of that period is late:
it stands on the next invoice, with its own period.
"""

from datetime import datetime
from typing import Literal

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import BooksDiffer
from billing.invoices import sql
from billing.invoices.bill import bill
from billing.invoices.finalise import Paper, finalise
from billing.invoices.model import Draft, Invoice, Unit, add_up
from billing.invoices.sql import ContractRow, Used
from billing.kit.apportion import apportion
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import lock_grant
from billing.ledger.model import Balance, credit_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.ledger.wallets import set_credit_limit
from billing.plans.calendar import Period
from billing.plans.model import MINOR, ContractPlan, Subscription
from billing.plans.read import RETRY, store, subscription_of
from billing.plans.renew import end
from billing.plans.sell import treatment_of
from billing.plans.sellers import Sellers
from billing.plans.sql import SubscriptionRow

PAST_MAX = 36
"""Late usage is shown with its period that many periods back; what is older, with the first of them."""


class Closing(msgspec.Struct, frozen=True):
    """A contract's period that is being closed, its account locked. `seen` is the snapshot that the last close saw."""

    buyer: Customer
    contract: Subscription
    plan: ContractPlan
    period: Period
    account: Balance
    seen: str | None
    now: datetime

    @property
    def is_last(self) -> bool:
        return self.contract.ends_at == self.period.ends_at


class Term(msgspec.Struct, frozen=True):
    """Where a period stands in the term of a commitment."""

    starts_at: datetime
    is_last: bool


async def close_due(conn: Conn, sellers: Sellers, limit: int = 20) -> list[Invoice | BooksDiffer]:
    """Closes at most `limit` contract periods whose grace is over, in the caller's transaction. Returns one outcome each.

    A period without anything to invoice has none. BooksDiffer: an invoice would not be what the ledger says is owed; that
    period stays open, nothing of it is written, and it is tried again an hour later, behind all others. Safe to run twice
    and on two machines.
    """
    outcomes: list[Invoice | BooksDiffer] = []
    for row in await sql.LOCK_CONTRACTS.all(conn, limit):
        try:
            invoice = await _close(conn, sellers, row)
        except BooksDiffer as refused:
            await sql.POSTPONE.run(conn, row.id, RETRY)
            outcomes.append(refused)
        else:
            outcomes += [invoice] if invoice is not None else []
    return outcomes


async def _close(conn: Conn, sellers: Sellers, row: ContractRow) -> Invoice | None:
    contract = subscription_of(msgspec.convert(row, SubscriptionRow, from_attributes=True))
    assert isinstance(contract.plan, ContractPlan)
    assert contract.period is not None
    buyer = await customer(conn, row.customer_id)
    # Only under this lock does the balance stand for everything that was settled before the snapshot.
    account = await lock_grant(conn, credit_account_id(wallet_id(buyer.id, "live", buyer.currency)))
    taken = await sql.TAKE_SNAPSHOT.one(conn)
    closing = Closing(buyer, contract, contract.plan, contract.period, account, row.closed_through, taken.at)
    invoice = await _invoice(conn, sellers, closing)
    await sql.SAW.run(conn, contract.id, taken.snapshot)
    await _go_on(conn, closing)
    return invoice


async def _invoice(conn: Conn, sellers: Sellers, closing: Closing) -> Invoice | None:
    past = past_periods(closing)
    bounds = [*(period.starts_at for period in past), closing.period.ends_at]
    asked = (closing.account.account_id, closing.period.starts_at, bounds, closing.seen)
    used = await sql.USED.all(conn, *asked)
    unbilled_micro = sum(line.amount_micro for line in used)
    if unbilled_micro != -closing.account.posted:
        raise BooksDiffer(f"{closing.buyer.id} owes {-closing.account.posted} unbilled, the usage is {unbilled_micro}")
    used = [line for line in used if line.bucket < len(bounds) and (line.amount_micro or line.quantity)]
    usage_micro = sum(line.amount_micro for line in used)
    owed = await _owed(conn, closing, usage_micro)
    shortfall_micro = sum(draft.amount_micro for draft in owed)
    if not (used or owed):
        return None
    # A period in which more was given back than used is a credit note, whose amounts are what is given back.
    sign = 1 if usage_micro + shortfall_micro >= 0 else -1
    treatment = treatment_of(sellers, closing.buyer)
    paper = Paper(
        id=derived_id("invoice", closing.contract.id, closing.period.starts_at.isoformat()),
        kind="invoice" if sign > 0 else "credit_note",
        sums=add_up([flipped(draft, sign) for draft in [*(draft_of(line, past) for line in used), *owed]], treatment),
        treatment=treatment,
        period=closing.period,
        subscription_id=closing.contract.id,
        counted_micro=usage_micro + shortfall_micro,
    )
    invoice = await finalise(conn, sellers.of(closing.buyer.currency), closing.buyer, paper, closing.now)
    await bill(conn, invoice, used, asked)
    inside_minor = invoice.tax_minor if treatment.inclusive else 0
    posting = Posting(
        kind="close",
        source=str(invoice.id),
        subject_id=closing.buyer.id,
        book="live",
        asset=closing.buyer.currency,
        amounts={
            "total": invoice.total_minor * MINOR * sign,
            "usage": usage_micro,
            "shortfall": shortfall_micro - inside_minor * MINOR * sign,
            "tax": invoice.tax_minor * MINOR * sign,
            "rounding": invoice.rounding_micro * sign,
        },
        accounts={"credit": closing.account.account_id},
        dimensions={"customer": str(closing.buyer.id)},
        facts={"number": invoice.number},
    )
    await post_all(conn, [posting])
    return invoice


async def _owed(conn: Conn, closing: Closing, usage_micro: int) -> list[Draft]:
    """What is owed although it was not used: the rest of the period's minimum, and that of a commitment when its term ends."""
    owed: list[Draft] = []
    least, counted = minimum_of(closing), max(usage_micro, 0)
    if counted < least:
        owed.append(shortfall("minimum", closing.plan, least, counted))
    term, commitment = term_of(closing), closing.plan.commitment_micro
    if commitment and (term.is_last or closing.is_last):
        before = (await sql.COUNTED.one(conn, closing.contract.id, term.starts_at)).amount_micro
        counted = before + usage_micro + sum(draft.amount_micro for draft in owed)
        if counted < commitment:
            owed.append(shortfall("commitment", closing.plan, commitment, counted))
    return owed


async def _go_on(conn: Conn, closing: Closing) -> None:
    """On to the next period. A contract that is over gives no credit, and ends once nothing is held or unbilled on it."""
    contract, buyer = closing.contract, closing.buyer
    if contract.ends_at is not None and contract.ends_at <= closing.period.ends_at:
        await set_credit_limit(
            conn, source=f"{contract.id}/end", customer_id=buyer.id, book="live", asset=buyer.currency, limit_micro=0
        )
        left = await lock_grant(conn, closing.account.account_id)
        if left.held == 0 and left.posted == 0:
            await end(conn, contract, contract.ends_at)
            return
    await store(conn, msgspec.structs.replace(contract, period=contract.calendar.next(closing.period)))


def shortfall(kind: Literal["minimum", "commitment"], plan: ContractPlan, least_micro: int, counted_micro: int) -> Draft:
    return Draft(
        kind=kind,
        title=plan.title,
        amount_micro=least_micro - counted_micro,
        facts={"least_micro": least_micro, "counted_micro": counted_micro},
    )


def draft_of(line: Used, past: list[Period]) -> Draft:
    """`past` ends with the period that is closed: usage of any other is late."""
    late = max(line.bucket, 1) < len(past)
    return Draft(
        kind="usage",
        title=" · ".join(part for part in (line.model, line.resolution, line.tier) if part),
        amount_micro=line.amount_micro,
        quantity=line.quantity,
        unit=msgspec.convert(line.unit, Unit),
        price_micro=line.price_micro,
        period=past[max(line.bucket, 1) - 1] if late else None,
    )


def flipped(draft: Draft, sign: int) -> Draft:
    return msgspec.structs.replace(draft, amount_micro=draft.amount_micro * sign, quantity=draft.quantity * sign)


def past_periods(closing: Closing) -> list[Period]:
    """The contract's periods up to the one that is closed, the oldest first."""
    contract, periods = closing.contract, [closing.period]
    while len(periods) <= PAST_MAX and periods[0].starts_at > contract.starts_at:
        before = contract.calendar.previous(periods[0])
        periods.insert(0, Period(max(before.starts_at, contract.starts_at), before.ends_at))
    return periods


def minimum_of(closing: Closing) -> int:
    """A period that the contract's beginning cut short owes its part of the minimum, by real seconds; one after its end none."""
    ends_at = closing.contract.ends_at
    if ends_at is not None and ends_at <= closing.period.starts_at:
        return 0
    whole = closing.contract.calendar.containing(closing.period.starts_at)
    parts = [closing.period.length_s, whole.length_s - closing.period.length_s]
    return apportion(closing.plan.minimum_micro // MINOR, parts)[0] * MINOR


def term_of(closing: Closing) -> Term:
    """Terms are counted in periods from the contract's first."""
    contract, term = closing.contract, closing.plan.term
    starts_at, nth = contract.starts_at, 1
    period = contract.calendar.containing(contract.starts_at)
    while period.ends_at < closing.period.ends_at:
        period, nth = contract.calendar.next(period), nth + 1
        if (nth - 1) % term == 0:
            starts_at = period.starts_at
    return Term(starts_at, nth % term == 0)
