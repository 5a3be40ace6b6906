"""Close: invoice what a contract's customer used on account in a period of its own calendar. A janitor's work.

Usage belongs to the period in which it was ordered, like its price. What is settled after the close of that period is late:
it stands on the next invoice, with its own period.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import BooksDiffer
from billing.invoices import sql
from billing.invoices.finalise import Paper, finalise
from billing.invoices.model import Draft, Invoice, Unit, add_up
from billing.invoices.sql import ContractRow, Used
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import lock_grant
from billing.ledger.model import Balance, credit_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.ledger.wallets import set_credit_limit
from billing.plans.apportion import apportion
from billing.plans.calendar import Period
from billing.plans.model import MINOR, ContractPlan, Subscription
from billing.plans.read import store, subscription_of
from billing.plans.renew import end
from billing.plans.sell import treatment_of
from billing.plans.sellers import Sellers
from billing.plans.sql import SubscriptionRow

PAST_MAX = 36
"""Late usage is shown with its period that many periods back; what is older, with the first of them."""


class Term(msgspec.Struct, frozen=True):
    """Where a period stands in the term of a commitment."""

    starts_at: datetime
    is_last: bool


async def close_due(conn: Conn, sellers: Sellers, limit: int = 20) -> list[Invoice]:
    """Closes at most `limit` contract periods whose grace is over, in the caller's transaction. Returns their invoices.

    A period without anything to invoice has none. Safe to run twice and on two machines. Raises BooksDiffer when an invoice
    would not be what the ledger says is owed.
    """
    made = [await _close(conn, sellers, row) for row in await sql.LOCK_CONTRACTS.all(conn, limit)]
    return [invoice for invoice in made if invoice is not None]


async def _close(conn: Conn, sellers: Sellers, row: ContractRow) -> Invoice | None:
    contract = subscription_of(msgspec.convert(row, SubscriptionRow, from_attributes=True))
    assert isinstance(contract.plan, ContractPlan)
    assert contract.period is not None
    buyer = await customer(conn, row.customer_id)
    balance = await lock_grant(conn, credit_account_id(wallet_id(buyer.id, "live", buyer.currency)))
    taken = await sql.TAKE_SNAPSHOT.one(conn)
    invoice = await _invoice(conn, sellers, buyer, contract, balance, row.closed_through, taken.at)
    await sql.SAW.run(conn, contract.id, taken.snapshot)
    await _go_on(conn, buyer, contract, balance)
    return invoice


async def _invoice(
    conn: Conn, sellers: Sellers, buyer: Customer, contract: Subscription, balance: Balance, seen: str | None, now: datetime
) -> Invoice | None:
    assert contract.period is not None
    past = past_periods(contract)
    bounds = [*(period.starts_at for period in past), contract.period.ends_at]
    used = await sql.USED.all(conn, balance.account_id, contract.period.starts_at, bounds, seen)
    if sum(line.amount_micro for line in used) != -balance.posted:
        raise BooksDiffer(f"{buyer.id} owes {-balance.posted} unbilled, the usage is {sum(line.amount_micro for line in used)}")
    lines = [draft_of(line, past) for line in used if line.bucket < len(bounds) and (line.amount_micro or line.quantity)]
    usage_micro = sum(line.amount_micro for line in lines)
    owed = await _owed(conn, contract, usage_micro)
    drafts, shortfall_micro = [*lines, *owed], sum(draft.amount_micro for draft in owed)
    if not drafts:
        return None
    # A period in which more was given back than used is a credit note, whose amounts are what is given back.
    sign = 1 if usage_micro + shortfall_micro >= 0 else -1
    treatment = treatment_of(sellers, buyer)
    sums = add_up([flipped(draft, sign) for draft in drafts], treatment)
    paper = Paper(
        id=derived_id("invoice", contract.id, contract.period.starts_at.isoformat()),
        kind="invoice" if sign > 0 else "credit_note", sums=sums, treatment=treatment, period=contract.period,
        subscription_id=contract.id, counted_micro=usage_micro + shortfall_micro,
    )  # fmt: skip
    invoice = await finalise(conn, sellers.of(buyer.currency), buyer, paper, now)
    await post_all(conn, [close_posting(buyer, balance.account_id, invoice, usage_micro, shortfall_micro, sign)])
    return invoice


def close_posting(
    buyer: Customer, account_id: UUID, invoice: Invoice, usage_micro: int, shortfall_micro: int, sign: int
) -> Posting:
    inside = invoice.tax_minor * MINOR * sign if invoice.treatment.inclusive else 0
    return Posting(
        kind="close",
        source=str(invoice.id),
        subject_id=buyer.id,
        book="live",
        asset=buyer.currency,
        amounts={
            "total": invoice.total_minor * MINOR * sign,
            "usage": usage_micro,
            "shortfall": shortfall_micro - inside,
            "tax": invoice.tax_minor * MINOR * sign,
            "rounding": invoice.rounding_micro * sign,
        },
        accounts={"credit": account_id},
        dimensions={"customer": str(buyer.id)},
        facts={"number": invoice.number},
    )


async def _owed(conn: Conn, contract: Subscription, usage_micro: int) -> list[Draft]:
    """What is owed although it was not used: the rest of the period's minimum, and in the last period of a term that of the
    commitment.
    """
    assert isinstance(contract.plan, ContractPlan)
    assert contract.period is not None
    owed: list[Draft] = []
    minimum = minimum_of(contract)
    counted = max(usage_micro, 0)
    if counted < minimum:
        facts: dict[str, int | str] = {"least_micro": minimum, "counted_micro": counted}
        owed.append(Draft(kind="minimum", title=contract.plan.title, amount_micro=minimum - counted, facts=facts))
    term = term_of(contract)
    if contract.plan.commitment_micro and (term.is_last or contract.ends_at == contract.period.ends_at):
        before = (await sql.COUNTED.one(conn, contract.id, term.starts_at)).amount_micro
        counted = before + usage_micro + sum(draft.amount_micro for draft in owed)
        if counted < contract.plan.commitment_micro:
            facts = {"least_micro": contract.plan.commitment_micro, "counted_micro": counted}
            missing = contract.plan.commitment_micro - counted
            owed.append(Draft(kind="commitment", title=contract.plan.title, amount_micro=missing, facts=facts))
    return owed


async def _go_on(conn: Conn, buyer: Customer, contract: Subscription, balance: Balance) -> None:
    """On to the next period. A contract that is over gives no credit, and ends once nothing is held or unbilled on it."""
    assert contract.period is not None
    if contract.ends_at is not None and contract.ends_at <= contract.period.ends_at:
        await set_credit_limit(
            conn, source=f"{contract.id}/end", customer_id=buyer.id, book="live", asset=buyer.currency, limit_micro=0
        )
        left = await lock_grant(conn, balance.account_id)
        if left.held == 0 and left.posted == 0:
            await end(conn, contract, contract.ends_at)
            return
    await store(conn, msgspec.structs.replace(contract, period=contract.calendar.next(contract.period)))


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


def past_periods(contract: Subscription) -> list[Period]:
    """The periods of the contract's calendar up to the one that is closed, the oldest first."""
    assert contract.period is not None
    periods = [contract.period]
    while len(periods) <= PAST_MAX and periods[0].starts_at > contract.starts_at:
        before = contract.calendar.previous(periods[0])
        periods.insert(0, Period(max(before.starts_at, contract.starts_at), before.ends_at))
    return periods


def minimum_of(contract: Subscription) -> int:
    """A period that the contract's beginning cut short owes its part of the minimum, by real seconds; one after its end none."""
    assert isinstance(contract.plan, ContractPlan)
    assert contract.period is not None
    if contract.ends_at is not None and contract.ends_at <= contract.period.starts_at:
        return 0
    whole = contract.calendar.containing(contract.period.starts_at)
    parts = [contract.period.length_s, whole.length_s - contract.period.length_s]
    return apportion(contract.plan.minimum_micro // MINOR, parts)[0] * MINOR


def term_of(contract: Subscription) -> Term:
    """Terms are counted in periods from the contract's first."""
    assert isinstance(contract.plan, ContractPlan)
    assert contract.period is not None
    starts_at, nth = contract.starts_at, 1
    period = contract.calendar.containing(contract.starts_at)
    while period.ends_at < contract.period.ends_at:
        period, nth = contract.calendar.next(period), nth + 1
        if nth % contract.plan.term == 1 or contract.plan.term == 1:
            starts_at = period.starts_at
    return Term(starts_at, nth % contract.plan.term == 0)
