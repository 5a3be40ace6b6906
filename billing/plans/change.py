"""Change a plan in the middle of a period, or end it. What is given back and charged is explained line by line."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import PlanChangeRefused
from billing.kit.ids import derived_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.ledger.grants import lock_grant
from billing.ledger.post import Posting, post_all
from billing.plans import sql
from billing.plans.catalogue import find_plan
from billing.plans.events import tell
from billing.plans.give_back import price_back, take_back
from billing.plans.model import MINOR, ContractPlan, FreePlan, Plan, Sale, SaleLine, Subscription, SubscriptionPlan
from billing.plans.prorate import rest_of, unused_of, whole_of
from billing.plans.read import lock_subscription, store, subscription_of
from billing.plans.renew import end
from billing.plans.sell import free_micro, sale_of_grant, sell, treatment_of
from billing.plans.sellers import Sellers
from billing.plans.subscribe import add_subscription, begin, check_currency
from billing.plans.tax import tax


class Returned(msgspec.Struct, frozen=True):
    """Seconds of a sale that come back, and for how much with tax."""

    sale: Sale
    line: SaleLine
    total_micro: int


class Change(msgspec.Struct, frozen=True):
    """What a change would give back and charge at `at`. `charged` is None where the new plan costs nothing now."""

    at: datetime
    currency: str
    returned: tuple[Returned, ...]
    charged: SaleLine | None
    charged_micro: int

    @property
    def returned_micro(self) -> int:
        return sum(one.total_micro for one in self.returned)


class Going(msgspec.Struct, frozen=True):
    """From which subscription, by which change."""

    old: Subscription
    change: Change


async def preview_change(conn: Conn, sellers: Sellers, *, customer_id: UUID, plan: str) -> Change:
    """What `change_plan` would do now. Raises as it does; writes nothing."""
    subscription = await lock_subscription(conn, customer_id)
    return await _work_out(conn, sellers, await customer(conn, customer_id), subscription, await find_plan(conn, plan))


async def change_plan(conn: Conn, sellers: Sellers, *, customer_id: UUID, plan: str, source: str) -> Subscription:
    """Ends the plan now and begins another, once per `source`, in the caller's transaction. A replay returns what was begun.

    Seconds of the period that are unused come back for what they were sold for, at most those for the time that is left.
    Between subscriptions of equal periods the period goes on, and its rest is charged. Raises UnknownSubscription, UnknownPlan,
    and PlanChangeRefused with the figures where a balance would become negative; then nothing was written.
    """
    subscription_id = derived_id("subscription", customer_id, source)
    if (row := await sql.SUBSCRIPTION.maybe(conn, subscription_id)) is not None:
        return subscription_of(row)
    buyer = await customer(conn, customer_id)
    subscription, offer = await lock_subscription(conn, customer_id), await find_plan(conn, plan)
    change = await _work_out(conn, sellers, buyer, subscription, offer)
    for one in change.returned:
        await take_back(conn, one.sale, return_id=derived_id("return", subscription_id, str(one.sale.id)), line=one.line)
    if isinstance(subscription.plan, FreePlan):
        await _end_allowance(conn, subscription)
    await end(conn, subscription, change.at)
    added = await add_subscription(conn, buyer, offer, subscription_id=subscription_id, starts_at=change.at)
    if _goes_on(subscription.plan, offer):
        begun = await _go_on(conn, sellers, buyer, added, Going(subscription, change))
    else:
        begun = await begin(conn, sellers, buyer, added, change.at)
    facts = {
        "from": subscription.plan.name, "to": offer.name,
        "returned_micro": change.returned_micro, "charged_micro": change.charged_micro,
    }  # fmt: skip
    await tell(conn, "plan.changed", str(subscription_id), customer_id, facts)
    return begun


async def cancel(conn: Conn, customer_id: UUID) -> Subscription:
    """Lets the plan end with its period; one that has not begun ends now. Again is a replay. Raises UnknownSubscription.

    A contract that is past due is invoiced to its end like any other.
    """
    subscription = await lock_subscription(conn, customer_id)
    if subscription.period is None:
        return await end(conn, subscription, subscription.starts_at)
    if subscription.state == "past_due" and not isinstance(subscription.plan, ContractPlan):
        return await end(conn, subscription, subscription.period.ends_at)
    return await store(conn, msgspec.structs.replace(subscription, ends_at=subscription.period.ends_at))


async def _work_out(conn: Conn, sellers: Sellers, buyer: Customer, old: Subscription, new: Plan) -> Change:
    check_currency(buyer, new)
    if old.plan == new:
        raise PlanChangeRefused(f"{new.name} is the plan already")
    if old.state != "active" or old.period is None:
        raise PlanChangeRefused(f"{old.plan.name} is {old.state}; pay or cancel it first")
    if isinstance(old.plan, ContractPlan):
        raise PlanChangeRefused(f"{old.plan.name} is a contract: it ends with a period; cancel it")
    at = (await sql.NOW.one(conn)).at
    if at >= old.period.ends_at:
        raise PlanChangeRefused(f"the period of {old.plan.name} is over and about to be renewed; ask again in a minute")
    returned: list[Returned] = []
    if isinstance(old.plan, SubscriptionPlan):
        for left in await sql.LEFT_OF_GRANTS.all(conn, buyer.id, ["subscription"], old.period.ends_at):
            sold = await sale_of_grant(conn, left.account_id)
            if sold is None or sold.subscription_id != old.id:
                continue  # rolled over, or kept from a plan before: it was for time that has gone by
            line = unused_of(sold.line, old.period, at, left_ms=left.free)
            if line.quantity_ms:
                priced = await price_back(conn, await lock_grant(conn, sold.grant_id), sold, line.quantity_ms)
                returned.append(Returned(sold, line, priced.total_minor * MINOR))
    charged, charged_micro = None, 0
    if isinstance(new, SubscriptionPlan):
        charged = rest_of(new, old.period, at) if _goes_on(old.plan, new) else whole_of(new)
        charged_micro = tax([charged.price_micro // MINOR], treatment_of(sellers, buyer)).total_minor * MINOR
        await _check_affords(conn, buyer, new, Change(at, buyer.currency, tuple(returned), charged, charged_micro))
    return Change(at, buyer.currency, tuple(returned), charged, charged_micro)


async def _check_affords(conn: Conn, buyer: Customer, new: SubscriptionPlan, change: Change) -> None:
    free = await free_micro(conn, buyer, new.payer)
    back = sum(one.total_micro for one in change.returned if one.sale.payer == new.payer)
    if free + back < change.charged_micro:
        costs, returned, there = (format_micro(micro, buyer.currency) for micro in (change.charged_micro, back, free))
        raise PlanChangeRefused(f"{new.title} costs {costs} now, {returned} comes back, and the {new.payer} has {there}")


def _goes_on(old: Plan, new: Plan) -> bool:
    return isinstance(old, SubscriptionPlan) and isinstance(new, SubscriptionPlan) and old.every == new.every


async def _go_on(conn: Conn, sellers: Sellers, buyer: Customer, new: Subscription, going: Going) -> Subscription:
    """The new plan takes over the period of the old one, and its rest is charged."""
    period, line = going.old.period, going.change.charged
    assert isinstance(new.plan, SubscriptionPlan)
    assert period is not None
    assert line is not None
    if line.quantity_ms:
        await sell(
            conn, sellers, buyer, line, sale_id=derived_id("sale", new.id, going.change.at.isoformat()), payer=new.plan.payer,
            currency=new.plan.currency, expires_at=period.ends_at, subscription_id=new.id, period=period,
        )  # fmt: skip
    return await store(conn, msgspec.structs.replace(new, state="active", anchor=going.old.anchor, period=period))


async def _end_allowance(conn: Conn, subscription: Subscription) -> None:
    """Free seconds end with the plan that gives them; what is held stays."""
    assert subscription.period is not None
    for left in await sql.LEFT_OF_GRANTS.all(conn, subscription.customer_id, ["allowance"], subscription.period.ends_at):
        balance = await lock_grant(conn, left.account_id)
        posting = Posting(
            kind="expire_allowance", source=f"{left.account_id}/{balance.posted}", subject_id=subscription.customer_id,
            book="live", asset="", units=left.asset, amounts={"amount": balance.posted - balance.held},
            accounts={"grant": left.account_id},
        )  # fmt: skip
        await post_all(conn, [posting])
