"""Begin a plan."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import PlanChangeRefused, SubscriptionConflict
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.ledger.model import SECONDS
from billing.ledger.wallets import set_credit_limit
from billing.plans import sql
from billing.plans.calendar import Period, local_day
from billing.plans.catalogue import find_plan
from billing.plans.events import tell
from billing.plans.model import ContractPlan, FreePlan, Plan, Subscription, SubscriptionPlan
from billing.plans.prorate import whole_of
from billing.plans.read import store, subscription_of
from billing.plans.sell import sell
from billing.plans.sellers import Sellers


async def subscribe(
    conn: Conn, sellers: Sellers, *, customer_id: UUID, plan: str, source: str, starts_at: datetime | None = None
) -> Subscription:
    """Begins the plan, now or later, once per `source`, in the caller's transaction. A replay returns what was begun.

    What begins now gives its seconds, and is paid, at once. A contract's first period ends with the customer's calendar month
    (or week); every other period is counted from the day it begins. Raises UnknownCustomer, UnknownPlan, SubscriptionConflict
    while another plan has not ended, PlanChangeRefused for another currency or a past start, and InsufficientFunds.
    """
    buyer = await customer(conn, customer_id)
    offer = await find_plan(conn, plan)
    check_currency(buyer, offer)
    now = (await sql.NOW.one(conn)).at
    subscription_id = derived_id("subscription", customer_id, source)
    if starts_at is not None and starts_at < now and await sql.SUBSCRIPTION.maybe(conn, subscription_id) is None:
        raise PlanChangeRefused(f"{starts_at.isoformat()} is over; begin now or later")
    begun = await add_subscription(conn, buyer, offer, subscription_id=subscription_id, starts_at=starts_at or now)
    return await begin(conn, sellers, buyer, begun, now) if begun.state == "scheduled" and starts_at is None else begun


async def add_subscription(
    conn: Conn, buyer: Customer, plan: Plan, *, subscription_id: UUID, starts_at: datetime
) -> Subscription:
    """Stores a subscription that has not begun. A replay returns it as it is now. Raises SubscriptionConflict."""
    encoded = msgspec.json.encode(plan)
    day = local_day(starts_at, buyer.time_zone)
    anchor = day.replace(day=1) if isinstance(plan, ContractPlan) and plan.every.unit == "month" else day
    added = await sql.ADD_SUBSCRIPTION.maybe(conn, subscription_id, buyer.id, encoded, anchor, starts_at)
    if added is None:
        stored = await sql.SAME_SUBSCRIPTION.maybe(conn, subscription_id, encoded, buyer.id)
        if stored is None or not stored.known:
            raise SubscriptionConflict(str(buyer.id))
    return subscription_of(await sql.SUBSCRIPTION.one(conn, subscription_id))


async def begin(conn: Conn, sellers: Sellers, buyer: Customer, subscription: Subscription, now: datetime) -> Subscription:
    """Gives the first period. Raises InsufficientFunds before anything of it is written."""
    period = first_period(subscription, now)
    await give_period(conn, sellers, buyer, subscription, period)
    begun = await store(conn, msgspec.structs.replace(subscription, state="active", period=period))
    await tell(conn, "plan.started", str(subscription.id), buyer.id, {"plan": subscription.plan.name})
    return begun


def first_period(subscription: Subscription, now: datetime) -> Period:
    """A contract's begins when it does; every other's is whole."""
    period = subscription.calendar.containing(max(now, subscription.starts_at))
    if isinstance(subscription.plan, ContractPlan) and subscription.starts_at in period:
        return Period(subscription.starts_at, period.ends_at)
    return period


async def give_period(conn: Conn, sellers: Sellers, buyer: Customer, subscription: Subscription, period: Period) -> None:
    """What the plan gives for one period: paid seconds, free seconds, or credit. Raises InsufficientFunds before it writes."""
    match subscription.plan:
        case SubscriptionPlan() as plan:
            await sell(
                conn, sellers, buyer, whole_of(plan), sale_id=period_id("sale", subscription, period), payer=plan.payer,
                currency=plan.currency, expires_at=period.ends_at, subscription_id=subscription.id, period=period,
            )  # fmt: skip
        case FreePlan() as plan:
            allowance = Issue(
                kind="allowance", source=str(period_id("allowance", subscription, period)), customer_id=buyer.id,
                asset=SECONDS + plan.seconds_class, amount=plan.allowance_ms, expires_at=period.ends_at,
            )  # fmt: skip
            await issue(conn, [allowance])
        case ContractPlan() as plan:
            await set_credit_limit(
                conn, source=str(subscription.id), customer_id=buyer.id, book="live", asset=plan.currency,
                limit_micro=plan.credit_limit_micro,
            )  # fmt: skip


def period_id(kind: str, subscription: Subscription, period: Period) -> UUID:
    """The one id that this may have for a period: whoever gives it again meets it."""
    return derived_id(kind, subscription.id, period.starts_at.isoformat())


def check_currency(buyer: Customer, plan: Plan) -> None:
    """Raises PlanChangeRefused."""
    if not isinstance(plan, FreePlan) and plan.currency != buyer.currency:
        raise PlanChangeRefused(f"{plan.name} is sold in {plan.currency}, the customer is billed in {buyer.currency}")
