"""Read and store what a customer has agreed to."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from billing.errors import UnknownSubscription
from billing.kit.query import Conn
from billing.plans import sql
from billing.plans.calendar import Period
from billing.plans.model import ContractPlan, Plan, Subscription
from billing.plans.sql import SubscriptionRow

RETRY = timedelta(hours=1)
"""How long the clerk waits before it tries again to collect a fee, or to close a period whose books differ."""

_plan = msgspec.json.Decoder(Plan)


async def subscriptions(conn: Conn, customer_id: UUID) -> list[Subscription]:
    """All of the customer's, the oldest first."""
    return [subscription_of(row) for row in await sql.SUBSCRIPTIONS.all(conn, customer_id)]


async def lock_subscription(conn: Conn, customer_id: UUID) -> Subscription:
    """The one that has not ended, locked. Raises UnknownSubscription."""
    row = await sql.LOCK_SUBSCRIPTION.maybe(conn, customer_id)
    if row is None:
        raise UnknownSubscription(str(customer_id))
    return subscription_of(row)


def subscription_of(row: SubscriptionRow) -> Subscription:
    period = Period(row.period_starts_at, row.period_ends_at) if row.period_starts_at and row.period_ends_at else None
    return Subscription(
        row.id, row.customer_id, _plan.decode(row.plan), row.state, row.anchor, row.starts_at,
        row.ends_at, period, row.time_zone,
    )  # fmt: skip


async def store(conn: Conn, subscription: Subscription, *, now: datetime | None = None) -> Subscription:
    """Stores what has changed of it. `now` is needed where a fee could not be paid: it is tried again after that."""
    period = subscription.period
    due_at = period.ends_at if period else subscription.starts_at
    if subscription.state == "past_due" and now is not None:
        due_at = now + RETRY
    elif isinstance(subscription.plan, ContractPlan) and period:
        due_at += timedelta(hours=subscription.plan.grace_hours)
    await sql.UPDATE_SUBSCRIPTION.run(
        conn, subscription.id, subscription.state, subscription.anchor, subscription.ends_at,
        period and period.starts_at, period and period.ends_at, due_at,
    )  # fmt: skip
    return subscription
