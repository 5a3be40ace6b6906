"""Plans, packs and budgets as they are offered, and what a customer has of them; pure."""

from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from billing.kit.ids import derived_id
from billing.plans.calendar import Calendar, Every, Period
from billing.plans.tax import Treatment

MINOR = 10_000
"""Micro-units in the smallest unit that is paid in: a fen, a cent. What is sold has a price in whole ones."""

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
Currency = Literal["CNY", "USD"]
Price = Annotated[int, Meta(ge=0, le=10**15, multiple_of=MINOR)]
Milliseconds = Annotated[int, Meta(ge=1, le=10**12)]
Payer = Literal["wallet", "account"]
State = Literal["scheduled", "active", "past_due", "ended"]

TRANSITIONS: dict[State, tuple[State, ...]] = {
    "scheduled": ("active", "past_due", "ended"),
    "active": ("past_due", "ended"),
    "past_due": ("active", "ended"),
    "ended": (),
}
"""A subscription begins, may fail to pay for a period and recover, and ends once."""


class SubscriptionPlan(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="subscription", tag_field="kind"
):
    """A fee per period for seconds of one class. What is used beyond them is paid by the second: seconds come before money.

    Unused seconds move on, `rollover_max_ms` of them at most, for one more period at a time. Who cannot pay a period's fee
    is past due for `grace_days`; then the subscription ends.
    """

    name: Name
    title: str
    currency: Currency
    every: Every
    fee_micro: Price
    seconds_class: Name
    included_ms: Milliseconds
    rollover_max_ms: Annotated[int, Meta(ge=0, le=10**12)] = 0
    payer: Payer = "wallet"
    grace_days: Annotated[int, Meta(ge=0, le=90)] = 7


class ContractPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="contract", tag_field="kind"):
    """Usage on account, up to a limit, invoiced `grace_hours` after each period, so that late usage is still on it.

    `minimum_micro` is owed for each period and `commitment_micro` for each `term` of periods, whatever is used.
    """

    name: Name
    title: str
    currency: Currency
    every: Every
    credit_limit_micro: Annotated[int, Meta(ge=1, le=10**17)]
    minimum_micro: Price = 0
    commitment_micro: Price = 0
    term: Annotated[int, Meta(ge=1, le=120)] = 12
    grace_hours: Annotated[int, Meta(ge=0, le=720)] = 24


class FreePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="free", tag_field="kind"):
    """Seconds that nobody pays for, as long as what they cost us fits into `budget`, one of ours."""

    name: Name
    title: str
    every: Every
    seconds_class: Name
    allowance_ms: Milliseconds
    budget: Name


Plan: TypeAlias = SubscriptionPlan | ContractPlan | FreePlan


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds that are bought at once and may be used until `valid_days` later; 0: for ever."""

    name: Name
    title: str
    currency: Currency
    price_micro: Annotated[int, Meta(ge=MINOR, le=10**15, multiple_of=MINOR)]
    seconds_class: Name
    duration_ms: Milliseconds
    valid_days: Annotated[int, Meta(ge=0, le=3660)] = 0


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What free jobs may cost us on one day of `time_zone`, in the currency that compute is bought in.

    When a day's budget is spent, a job waits for the first of `days_ahead` later days that has some left; with 0 it is refused.
    """

    name: Name
    per_day_micro: Annotated[int, Meta(ge=1, le=10**15)]
    time_zone: str
    days_ahead: Annotated[int, Meta(ge=0, le=31)] = 0

    @property
    def holder_id(self) -> UUID:
        """Whose wallet the budget lies in: ours, one for each budget."""
        return budget_holder_id(self.name)


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is offered from one moment on."""

    plans: tuple[Plan, ...] = ()
    packs: tuple[Pack, ...] = ()
    budgets: tuple[Budget, ...] = ()


class Subscription(msgspec.Struct, frozen=True):
    """A customer's agreement to a plan over `[starts_at, ends_at)`, with the plan's terms as they were agreed to.

    `period` is the one it has paid for, or whose usage is being counted; None before it has begun.
    """

    id: UUID
    customer_id: UUID
    plan: Plan
    state: State
    anchor: date
    starts_at: datetime
    ends_at: datetime | None
    period: Period | None
    time_zone: str

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.plan.every, self.time_zone, self.anchor)


class SaleLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a sale is of, or what a return takes back. `facts` are the figures that a sentence about it is made of.

    `unused` comes back with a change of plan, `returned` of a pack. `credited` takes no seconds back: a credit note gave so
    much of the price back.
    """

    kind: Literal["pack", "subscription", "rest", "unused", "returned", "credited"]
    title: str
    seconds_class: str
    quantity_ms: int
    price_micro: int = 0
    facts: dict[str, int | str] = {}


class Sale(msgspec.Struct, frozen=True):
    """Seconds that were sold and paid or owed at once; with `returns`, what was given back of that sale."""

    id: UUID
    customer_id: UUID
    subscription_id: UUID | None
    grant_id: UUID
    returns: UUID | None
    payer: Payer
    currency: str
    treatment: Treatment
    line: SaleLine
    net_minor: int
    tax_minor: int
    period: Period | None

    @property
    def total_micro(self) -> int:
        return (self.net_minor + self.tax_minor) * MINOR


def budget_holder_id(name: str) -> UUID:
    return derived_id("budget", name)
