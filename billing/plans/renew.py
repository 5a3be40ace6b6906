"""Renew: begin what was agreed to begin, go on to the next period, end what is over. A janitor's work."""

from datetime import datetime, timedelta

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customers
from billing.errors import InsufficientFunds
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger.grants import Issue, expire, roll_over
from billing.plans import sql
from billing.plans.calendar import Period
from billing.plans.events import tell
from billing.plans.model import Subscription, SubscriptionPlan
from billing.plans.read import store, subscription_of
from billing.plans.sellers import Sellers
from billing.plans.subscribe import begin, give_period


async def renew_due(conn: Conn, sellers: Sellers, limit: int = 100) -> int:
    """Moves at most `limit` subscriptions on, in the caller's transaction. Returns how many there were to move.

    Safe to run twice and on two machines: rows another clerk has locked are skipped, and ids follow from the periods. A
    period that is over when this first looks is not charged.
    """
    rows = await sql.LOCK_DUE.all(conn, limit)
    now = (await sql.NOW.one(conn)).at
    buyers = await customers(conn, {row.customer_id for row in rows})
    for row in rows:
        await _move_on(conn, sellers, buyers[row.customer_id], subscription_of(row), now)
    return len(rows)


async def expire_grants(conn: Conn, limit: int = 500) -> int:
    """Ends grants whose time is over, once no unused seconds wait to be rolled over. Returns how many."""
    if (await sql.ANY_TO_ROLL_OVER.one(conn)).known:
        return 0
    return len(await expire(conn, limit))


async def _move_on(conn: Conn, sellers: Sellers, buyer: Customer, subscription: Subscription, now: datetime) -> None:
    if subscription.ends_at is not None and subscription.ends_at <= now:
        await end(conn, subscription, subscription.ends_at)
        return
    if subscription.period is None:
        await _begin(conn, sellers, buyer, subscription, now)
        return
    period = subscription.calendar.containing(now)
    if subscription.state == "active":
        await _roll_over(conn, subscription, subscription.period, period)
    try:
        await give_period(conn, sellers, buyer, subscription, period)
    except InsufficientFunds as refused:
        await _fall_behind(conn, subscription, subscription.period.ends_at, now, refused)
        return
    await store(conn, msgspec.structs.replace(subscription, state="active", period=period))
    facts = {"plan": subscription.plan.name, "until": period.ends_at.isoformat()}
    await tell(conn, "plan.renewed", f"{subscription.id}/{period.starts_at.isoformat()}", buyer.id, facts)


async def _begin(conn: Conn, sellers: Sellers, buyer: Customer, subscription: Subscription, now: datetime) -> None:
    try:
        await begin(conn, sellers, buyer, subscription, now)
    except InsufficientFunds as refused:
        await _fall_behind(conn, subscription, subscription.starts_at, now, refused)


async def _roll_over(conn: Conn, subscription: Subscription, old: Period, new: Period) -> None:
    """What the old period leaves unused moves on, the youngest first, up to the plan's cap; the rest expires."""
    if not isinstance(subscription.plan, SubscriptionPlan):
        return
    room_ms = subscription.plan.rollover_max_ms
    for left in await sql.LEFT_OF_GRANTS.all(conn, subscription.customer_id, ["subscription"], old.ends_at):
        amount = min(left.free, room_ms)
        if amount <= 0:
            break
        room_ms -= amount
        into = Issue(
            kind="rollover", source=str(derived_id("rollover", left.account_id, new.starts_at.isoformat())),
            customer_id=subscription.customer_id, asset=left.asset, amount=amount, expires_at=new.ends_at,
        )  # fmt: skip
        await roll_over(conn, left.account_id, into)


async def _fall_behind(
    conn: Conn, subscription: Subscription, since: datetime, now: datetime, refused: InsufficientFunds
) -> None:
    """A fee could not be paid: past due for the plan's grace, then over."""
    grace_days = subscription.plan.grace_days if isinstance(subscription.plan, SubscriptionPlan) else 0
    if now >= since + timedelta(days=grace_days):
        await end(conn, subscription, since)
        return
    await store(conn, msgspec.structs.replace(subscription, state="past_due"), now=now)
    facts = {"plan": subscription.plan.name, "reason": refused.detail}
    await tell(conn, "plan.past_due", f"{subscription.id}/{since.isoformat()}", subscription.customer_id, facts)


async def end(conn: Conn, subscription: Subscription, at: datetime) -> Subscription:
    ended = await store(conn, msgspec.structs.replace(subscription, state="ended", ends_at=at))
    await tell(conn, "plan.ended", str(subscription.id), subscription.customer_id, {"plan": subscription.plan.name})
    return ended
