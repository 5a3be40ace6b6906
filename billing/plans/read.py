"""Read what a customer has agreed to."""

from uuid import UUID

import msgspec

from billing.errors import UnknownSubscription
from billing.kit.query import Conn
from billing.plans import sql
from billing.plans.calendar import Period
from billing.plans.model import Plan, Subscription
from billing.plans.sql import SubscriptionRow

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
