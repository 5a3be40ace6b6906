"""Agreements and sales: what is bought, begun, renewed, changed and ended."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from billing.plans.model import ContractPlan, FreePlan, Pack, Plan, SubscriptionPlan
from tests.billing.simulator.oracle.books import NEVER, Grant, Refused
from tests.billing.simulator.oracle.calendars import dawn, half_up, later_part, local_day, period_at
from tests.billing.simulator.oracle.jobs import Jobs, Outcome

MINOR = 10_000
Span = tuple[datetime, datetime]


@dataclass
class Agreement:
    customer: UUID
    plan: Any
    zone: str
    anchor: date
    starts: datetime
    state: str = "scheduled"
    ends: datetime | None = None
    period: Span | None = None
    due: datetime = NEVER
    counted: list[tuple[datetime, int]] = field(default_factory=list)
    """By periods of a contract: what counts towards its commitment."""

    def told(self) -> Outcome:
        return "plan", self.plan.name, self.state, self.ends, self.period

    def period_at(self, at: datetime) -> Span:
        return period_at(self.plan.every, self.zone, self.anchor, at)


@dataclass
class Sold:
    """Whole minor units. `back`: it was a return; `given`: what came back of it, net and tax.

    `by`: the agreement it was sold by, for the last `rest_s` seconds of a period or for all of it.
    """

    customer: UUID
    grant: Grant
    net: int
    tax: int
    payer: str
    by: Agreement | None = None
    rest_s: int | None = None
    back: bool = False
    invoiced: bool = False
    given: tuple[int, int] = (0, 0)

    def gives(self, net: int, tax: int) -> None:
        self.given = self.given[0] + net, self.given[1] + tax


@dataclass
class Plans(Jobs):
    offers: dict[str, Plan | Pack] = field(default_factory=dict)
    taxes: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """By currency: hundredths of a percent, and whether prices contain it."""
    budgets: list[Any] = field(default_factory=list)
    agreements: dict[tuple[UUID, str], Agreement] = field(default_factory=dict)
    sales: dict[Any, Sold] = field(default_factory=dict)

    # -- sales ---------------------------------------------------------------------------------------------------------
    def taxed(self, currency: str, price: int) -> tuple[int, int]:
        """Net and tax of a price, in minor units."""
        rate, inside = self.taxes[currency]
        if inside:
            tax = half_up(Fraction(price * rate, 10_000 + rate))
            return price - tax, tax
        return price, half_up(Fraction(price * rate, 10_000))

    def payer(self, customer: UUID, payer: str) -> Grant | None:
        return self.paid(customer) if payer == "wallet" else self.credit(customer)

    def sell(self, key: object, new: Grant, price: int, payer: str, by: Agreement | None = None) -> Sold:
        """`price` in micro-units. Raises Refused."""
        net, tax = self.taxed(new.currency, price // MINOR)
        account = self.payer(new.customer, payer)
        free = account.free if account is not None else 0
        if free < (net + tax) * MINOR or account is None:
            raise Refused("insufficient_funds")
        new.basis = net * MINOR
        self.issue("sale", str(key), new, tax=tax * MINOR, payer=account)
        sold = self.sales[key] = Sold(new.customer, new, net, tax, payer, by)
        return sold

    def buy_pack(self, customer: UUID, pack: str, source: str, payer: str) -> Outcome:
        key, offer = (customer, source), self.offers[pack]
        assert isinstance(offer, Pack)
        if key not in self.sales:
            if offer.currency != self.currency[customer]:
                raise Refused("plan_change_refused")
            expires = self.now + timedelta(days=offer.valid_days) if offer.valid_days else None
            new = Grant(
                customer, f"SEC:{offer.seconds_class}", "pack", self.now, 0, None, expires, offer.duration_ms, 0, offer.currency
            )
            self.sell(key, new, offer.price_micro, payer)
        sold = self.sales[key]
        return "sale", sold.net, sold.tax

    def invoice_sales(self) -> int:
        fresh = [sold for sold in self.sales.values() if not sold.invoiced and sold.net + sold.tax]
        for sold in fresh:
            sold.invoiced = True
        return len(fresh)

    def open_budget_days(self) -> int:
        opened = 0
        for budget in self.budgets:
            self.open_customer(budget.holder_id, "USD", budget.time_zone)
            day = local_day(self.now, budget.time_zone)
            for nth in range(budget.days_ahead + 1):
                starts, ends = (dawn(day + timedelta(days=nth + more), budget.time_zone) for more in (0, 1))
                new = Grant(budget.holder_id, "USD", "budget", self.now, 0, starts, ends, budget.per_day_micro)
                opened += ("budget", (new.customer, new.asset, str(starts))) not in self.posted
                self.issue("budget", str(starts), new)
        return opened

    # -- agreements ----------------------------------------------------------------------------------------------------
    def current(self, customer: UUID) -> Agreement | None:
        return next((one for one in self.agreements.values() if one.customer == customer and one.state != "ended"), None)

    def subscribe(self, customer: UUID, plan: str, source: str, starts: datetime | None) -> Outcome:
        if (customer, source) in self.agreements:
            return self.agreements[customer, source].told()
        self._check_currency(customer, plan)
        if starts is not None and starts < self.now:
            raise Refused("plan_change_refused")
        if self.current(customer) is not None:
            raise Refused("subscription_conflict")
        made = self._agree(customer, plan, starts or self.now)
        if starts is None:
            self._begin(made)
        else:
            made.due = made.starts
        self.agreements[customer, source] = made
        return made.told()

    def _check_currency(self, customer: UUID, plan: str) -> None:
        offer = self.offers[plan]
        if not isinstance(offer, FreePlan) and offer.currency != self.currency[customer]:
            raise Refused("plan_change_refused")

    def _agree(self, customer: UUID, plan: str, starts: datetime) -> Agreement:
        offer, day = self.offers[plan], local_day(starts, self.zone[customer])
        if isinstance(offer, ContractPlan) and offer.every.unit == "month":
            day = day.replace(day=1)
        return Agreement(customer, offer, self.zone[customer], day, starts)

    def _begin(self, one: Agreement) -> None:
        period = one.period_at(max(self.now, one.starts))
        if isinstance(one.plan, ContractPlan) and period[0] <= one.starts < period[1]:
            period = one.starts, period[1]
        self._give(one, period)
        self._go_on(one, period)

    def _go_on(self, one: Agreement, period: Span) -> None:
        one.state, one.period, one.due = "active", period, period[1]
        if isinstance(one.plan, ContractPlan):
            one.due += timedelta(hours=one.plan.grace_hours)

    def _give(self, one: Agreement, period: Span) -> None:
        plan, key = one.plan, (id(one), period[0])
        match plan:
            case SubscriptionPlan():
                new = Grant(
                    one.customer, f"SEC:{plan.seconds_class}", "subscription", self.now, 0, None, period[1], plan.included_ms, 0,
                    plan.currency,
                )  # fmt: skip
                self.sell(key, new, plan.fee_micro, plan.payer, one)
            case FreePlan():
                new = Grant(
                    one.customer, f"SEC:{plan.seconds_class}", "allowance", self.now, 0, None, period[1], plan.allowance_ms
                )
                self.issue("allowance", str(key), new)
            case _:
                self.limit(one.customer, id(one), plan.credit_limit_micro)

    def _end(self, one: Agreement, at: datetime) -> None:
        one.state, one.ends = "ended", at

    # -- renewal -------------------------------------------------------------------------------------------------------
    def _is_due(self, one: Agreement) -> bool:
        contract = isinstance(one.plan, ContractPlan) and one.state != "scheduled"
        return one.state != "ended" and one.due <= self.now and not contract

    def renew_due(self) -> int:
        due = sorted((one for one in self.agreements.values() if self._is_due(one)), key=lambda one: one.due)
        for one in due:
            self._renew(one)
        return len(due)

    def _renew(self, one: Agreement) -> None:
        if one.ends is not None and one.ends <= self.now:
            self._end(one, one.ends)
            return
        since = one.period[1] if one.period else one.starts
        try:
            if one.period is None:
                self._begin(one)
            else:
                period = one.period_at(self.now)
                if one.state == "active" and isinstance(one.plan, SubscriptionPlan):
                    self._roll_over(one, one.period[1], period[1])
                self._give(one, period)
                self._go_on(one, period)
        except Refused:
            grace = one.plan.grace_days if isinstance(one.plan, SubscriptionPlan) else 0
            if self.now >= since + timedelta(days=grace):
                self._end(one, since)
            else:
                one.state, one.due = "past_due", self.now + timedelta(hours=1)

    def _roll_over(self, one: Agreement, old: datetime, new: datetime) -> None:
        """The youngest first, as much as the plan lets through."""
        room = one.plan.rollover_max_ms
        left = [
            grant for grant in self.grants if (grant.customer, grant.kind, grant.expires) == (one.customer, "subscription", old)
        ]
        for grant in sorted(left, key=lambda grant: (-grant.created.timestamp(), grant.id)):
            amount = min(grant.free, room)
            if amount <= 0:
                continue
            room -= amount
            basis = grant.earned(grant.posted - amount) - grant.earned(grant.posted)
            into = Grant(
                one.customer, grant.asset, "subscription", self.now, 0, None, new, amount, basis, grant.currency, posted=amount
            )
            grant.posted -= amount
            self.grants.append(into)

    def expire_grants(self) -> int:
        if any(
            self._is_due(one) and one.state == "active" and isinstance(one.plan, SubscriptionPlan)
            for one in self.agreements.values()
        ):
            return 0
        return self.expire()

    # -- changes -------------------------------------------------------------------------------------------------------
    def cancel(self, customer: UUID) -> Outcome:
        one = self.current(customer)
        if one is None:
            raise Refused("unknown_subscription")
        if one.period is None or one.state == "past_due":
            self._end(one, one.period[1] if one.period else one.starts)
        else:
            one.ends = one.period[1]
        return one.told()

    def change(self, customer: UUID, plan: str, source: str) -> Outcome:
        if (customer, source) in self.agreements:
            return self.agreements[customer, source].told()
        old, new = self.current(customer), self.offers[plan]
        if old is None:
            raise Refused("unknown_subscription")
        self._check_currency(customer, plan)
        if old.plan == new or old.state != "active" or old.period is None or isinstance(old.plan, ContractPlan):
            raise Refused("plan_change_refused")
        if self.now >= old.period[1]:
            raise Refused("plan_change_refused")  # what is over must be renewed or ended first
        goes_on = isinstance(new, SubscriptionPlan) and isinstance(old.plan, SubscriptionPlan) and old.plan.every == new.every
        back = self._coming_back(old)
        if isinstance(new, SubscriptionPlan):
            price = self._rest(new.fee_micro // MINOR, old.period) * MINOR if goes_on else new.fee_micro
            account = self.payer(customer, new.payer)
            returned = sum((net + tax) * MINOR for sold, _, net, tax in back if sold.payer == new.payer)
            if (account.free if account else 0) + returned < sum(self.taxed(new.currency, price // MINOR)) * MINOR:
                raise Refused("plan_change_refused")
        for sold, amount, net, tax in back:
            self._take_back_sold(sold, amount, net, tax)
        if isinstance(old.plan, FreePlan):
            self._end_allowance(old)
        self._end(old, self.now)
        made = self.agreements[customer, source] = self._agree(customer, plan, self.now)
        if not goes_on:
            self._begin(made)
            return made.told()
        assert isinstance(new, SubscriptionPlan)
        made.anchor = old.anchor
        seconds = self._rest(new.included_ms, old.period)
        if seconds:
            grant = Grant(
                customer, f"SEC:{new.seconds_class}", "subscription", self.now, 0, None, old.period[1], seconds, 0, new.currency
            )
            price = self._rest(new.fee_micro // MINOR, old.period) * MINOR
            sold = self.sell((id(made), "rest"), grant, price, new.payer, made)
            sold.rest_s = (old.period[1] - self.now) // timedelta(seconds=1)
        self._go_on(made, old.period)
        return made.told()

    def _rest(self, total: int, period: Span, whole_s: int | None = None) -> int:
        """The part of `total` for the rest of a period; of its last `whole_s` seconds where it was for them."""
        rest = (period[1] - self.now) // timedelta(seconds=1)
        return later_part(total, (whole_s or (period[1] - period[0]) // timedelta(seconds=1)) - rest, rest)

    def _coming_back(self, old: Agreement) -> list[tuple[Sold, int, int, int]]:
        """Sale, seconds, net and tax of what this agreement sold for the period and is not used; at most for the time left.

        Nothing comes back that a credit note or an earlier return gave already.
        """
        assert old.period is not None
        found: list[tuple[Sold, int, int, int]] = []
        if not isinstance(old.plan, SubscriptionPlan):
            return found
        for sold in self.sales.values():
            grant = sold.grant
            if sold.back or sold.by is not old or grant.expires != old.period[1]:
                continue
            assert grant.issued is not None
            amount = min(grant.free, self._rest(grant.issued, old.period, sold.rest_s))
            if amount > 0:
                net, left = min(self._price(grant, amount), sold.net - sold.given[0]), sold.tax - sold.given[1]
                whole = net == sold.net - sold.given[0]
                tax = left if whole else min(half_up(Fraction(net * self.taxes[grant.currency][0], 10_000)), left)
                found.append((sold, amount, net, tax))
        return found

    def _price(self, grant: Grant, amount: int) -> int:
        """What the next seconds of a grant were sold for."""
        return half_up(Fraction(grant.earned(grant.posted - amount) - grant.earned(grant.posted), MINOR))

    def _take_back_sold(self, sold: Sold, amount: int, net: int, tax: int) -> None:
        grant, total = sold.grant, (net + tax) * MINOR
        payee = self.payer(sold.customer, sold.payer)
        assert payee is not None
        credited = self._price(grant, amount) - net
        earned = self.use(grant, amount, to="units:issued", earned="expense:rounding")
        # `use` has put all of the price into rounding: the payee gets it in whole minor units, with its tax.
        self.move(grant.currency, "expense:rounding", payee if sold.payer == "wallet" else "asset:receivable", net * MINOR)
        self.move(grant.currency, "liability:tax", payee if sold.payer == "wallet" else "asset:receivable", tax * MINOR)
        self.move(grant.currency, "expense:rounding", "contra:refunds", credited * MINOR)
        if sold.payer == "account":
            payee.floor -= total
        assert abs(earned - (net + credited) * MINOR) <= MINOR
        sold.gives(net, tax)
        self.sales["return", len(self.sales)] = replace(sold, net=net, tax=tax, back=True, invoiced=False)

    def _end_allowance(self, old: Agreement) -> None:
        assert old.period is not None
        for grant in self.grants:
            if (grant.customer, grant.kind, grant.expires) == (old.customer, "allowance", old.period[1]) and grant.free > 0:
                self.use(grant, grant.free, to="units:expired")
