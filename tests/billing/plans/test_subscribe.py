"""Subscriptions: their periods, what they give, what moves on, and what happens when nobody pays."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from billing.errors import InsufficientFunds, PlanChangeRefused, SubscriptionConflict, UnknownCustomer, UnknownPlan
from billing.plans.change import cancel
from billing.plans.events import events_after
from billing.plans.read import subscriptions
from billing.plans.renew import expire_grants, renew_due
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop

ANN = UUID(int=1)
FEE, TAX = 500 * YUAN, 30 * YUAN


async def test_a_period_is_paid_with_its_tax_and_gives_its_seconds(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    begun = await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    assert (begun.state, begun.plan.name) == ("active", "studio")
    assert begun.period is not None and begun.period.starts_at == datetime(2025, 12, 31, 16, tzinfo=UTC)
    assert await shop.balances(ANN) == {"paid": 1000 * YUAN - FEE - TAX, "subscription": 600_000}
    assert (await shop.books())["liability:deferred"] == FEE and (await shop.books())["liability:tax"] == TAX


async def test_beginning_again_is_a_replay_and_another_plan_a_conflict(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    begun = await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    assert await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1") == begun
    with pytest.raises(SubscriptionConflict):
        await shop.sells(subscribe, customer_id=ANN, plan="free", source="s2")
    assert len(await subscriptions(shop.conn, ANN)) == 1


async def test_what_was_agreed_for_later_is_a_replay_also_when_it_has_begun(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    start = datetime(2026, 1, 3, tzinfo=UTC)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1", starts_at=start)
    await clock.set(start)
    await shop.sells(renew_due)
    await clock.advance(days=1)
    again = await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1", starts_at=start)
    assert (again.state, [again]) == ("active", await subscriptions(shop.conn, ANN))


async def test_a_fee_that_cannot_be_paid_begins_nothing(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=529 * YUAN)
    with pytest.raises(InsufficientFunds, match=r"Studio costs ¥530.00; the wallet has ¥529.00"):
        await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    assert await shop.balances(ANN) == {"paid": 529 * YUAN} and await subscriptions(shop.conn, ANN) == []


async def test_bad_orders_are_refused_by_name(shop: Shop, clock: Clock) -> None:
    with pytest.raises(UnknownCustomer, match=str(ANN)):
        await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.opens(ANN)
    with pytest.raises(UnknownPlan, match="'gold'; there are: studio, studio-pro, enterprise, free"):
        await shop.sells(subscribe, customer_id=ANN, plan="gold", source="s1")
    with pytest.raises(PlanChangeRefused, match="is over"):
        await shop.sells(subscribe, customer_id=ANN, plan="free", source="s1", starts_at=datetime(2025, 1, 1, tzinfo=UTC))
    assert await subscriptions(shop.conn, ANN) == []


async def test_unused_seconds_move_on_up_to_the_cap_and_the_rest_expires(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=2000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.makes(ANN, 100_000)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    assert await shop.does(expire_grants) == 0  # or what is to be rolled over would be lost
    assert await shop.sells(renew_due) == 1
    assert await shop.sells(renew_due) == 0
    assert await shop.does(expire_grants) == 1
    assert await shop.balances(ANN) == {"paid": 2000 * YUAN - 2 * (FEE + TAX), "subscription": 600_000 + 300_000}
    assert (await shop.books())["revenue:subscription"] == FEE * 300_000 // 600_000


async def test_a_held_second_is_not_rolled_over_and_its_job_keeps_it(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=2000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    job = await shop.holds(ANN, 400_000)
    assert isinstance(job, UUID)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    await shop.sells(renew_due)
    await shop.does(expire_grants)
    assert (await shop.balances(ANN))["subscription"] == 400_000 + 200_000 + 600_000
    await shop.settles(ANN, job, 150_000)
    assert await shop.does(expire_grants) == 1
    assert (await shop.balances(ANN))["subscription"] == 200_000 + 600_000


async def test_who_cannot_pay_is_past_due_recovers_or_ends(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=600 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    assert await shop.sells(renew_due) == 1
    assert await shop.sells(renew_due) == 0, "an hour passes before the fee is tried again"
    (found,) = await subscriptions(shop.conn, ANN)
    assert found.state == "past_due" and (await shop.balances(ANN))["subscription"] == 600_000
    await shop.tops_up(ANN, 500 * YUAN)
    await clock.advance(hours=1)
    await shop.sells(renew_due)
    (found,) = await subscriptions(shop.conn, ANN)
    assert found.state == "active" and found.period is not None and clock.at in found.period

    await clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await shop.sells(renew_due)
    await clock.advance(days=7)
    await shop.sells(renew_due)
    (found,) = await subscriptions(shop.conn, ANN)
    assert (found.state, found.ends_at) == ("ended", datetime(2026, 2, 28, 16, tzinfo=UTC))
    kinds = [event.kind for event in await events_after(shop.conn, 0, customer_id=ANN)]
    assert kinds == ["plan.started", "plan.past_due", "plan.renewed", "plan.past_due", "plan.ended"]


async def test_periods_nobody_could_use_are_not_charged(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(datetime(2026, 4, 15, tzinfo=UTC))
    assert await shop.sells(renew_due) == 1
    assert (await shop.balances(ANN))["paid"] == 5000 * YUAN - 2 * (FEE + TAX)


async def test_a_cancelled_plan_runs_to_the_end_of_its_period(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=2000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.does(cancel, ANN)
    assert (await shop.does(cancel, ANN)).ends_at == datetime(2026, 1, 31, 16, tzinfo=UTC)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    await shop.sells(renew_due)
    await shop.does(expire_grants)
    assert await shop.balances(ANN) == {"paid": 2000 * YUAN - FEE - TAX}
    (found,) = await subscriptions(shop.conn, ANN)
    assert found.state == "ended"


async def test_a_plan_may_begin_later(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    later = datetime(2026, 1, 10, 12, tzinfo=UTC)
    begun = await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1", starts_at=later)
    assert begun.state == "scheduled" and (await shop.balances(ANN)) == {"paid": 1000 * YUAN}
    await clock.set(later)
    assert await shop.sells(renew_due) == 1
    (found,) = await subscriptions(shop.conn, ANN)
    assert found.state == "active" and found.period is not None
    assert found.period.starts_at == datetime(2026, 1, 9, 16, tzinfo=UTC)
    assert found.period.ends_at == datetime(2026, 2, 9, 16, tzinfo=UTC)
