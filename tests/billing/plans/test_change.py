"""Changing plan in the middle of a period: integer arithmetic, explained by its figures, refused whole."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import PlanChangeRefused, UnknownSubscription
from billing.plans.calendar import Every, Period
from billing.plans.change import cancel, change_plan, preview_change
from billing.plans.events import events_after
from billing.plans.model import MINOR, SubscriptionPlan
from billing.plans.prorate import rest_of, unused_of, whole_of
from billing.plans.read import subscriptions
from billing.plans.renew import expire_grants, renew_due
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop

ANN = UUID(int=1)
HALF = datetime(2026, 1, 16, 4, tzinfo=UTC)
"""Half of the period that begins with 1 January in Shanghai."""


async def test_an_upgrade_gives_back_what_is_unused_and_charges_the_rest(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.makes(ANN, 200_000)
    await clock.set(HALF)
    change = await shop.sells(preview_change, customer_id=ANN, plan="studio-pro")
    (back,), charged = change.returned, change.charged
    assert back.line.quantity_ms == 300_000 and back.line.facts == {
        "included_ms": 600_000, "rest_s": 1_339_200, "whole_s": 2_678_400,
    }  # fmt: skip
    assert back.total_micro == 265 * YUAN  # 250 and 6 % tax
    assert charged is not None and (charged.quantity_ms, charged.price_micro) == (1_500_000, 1000 * YUAN)
    assert change.charged_micro == 1060 * YUAN

    begun = await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")
    assert await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1") == begun
    # 100 s of Studio were kept: their time had gone by without using them.
    assert await shop.balances(ANN) == {"paid": (5000 - 530 + 265 - 1060) * YUAN, "subscription": 100_000 + 1_500_000}
    old, new = await subscriptions(shop.conn, ANN)
    assert (old.state, old.ends_at) == ("ended", HALF) and new.period == old.period and new.anchor == old.anchor
    assert [event.kind for event in await events_after(shop.conn, 0, customer_id=ANN)][1:] == ["plan.ended", "plan.changed"]

    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    await shop.sells(renew_due)
    await shop.does(expire_grants)
    assert (await shop.balances(ANN))["subscription"] == 3_000_000 + 1_500_000


async def test_who_used_more_than_the_time_gets_less_back(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=3000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio-pro", source="s1")
    await shop.makes(ANN, 2_900_000)
    await clock.set(HALF)
    change = await shop.sells(preview_change, customer_id=ANN, plan="studio")
    assert change.returned[0].line.quantity_ms == 100_000
    await shop.sells(change_plan, customer_id=ANN, plan="studio", source="c1")
    assert (await shop.balances(ANN))["subscription"] == 300_000


async def test_seconds_of_the_time_that_went_by_do_not_come_back_by_changing_twice(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(HALF)
    await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")
    assert await shop.balances(ANN) == {"paid": (5000 - 530 + 265 - 1060) * YUAN, "subscription": 300_000 + 1_500_000}
    change = await shop.sells(preview_change, customer_id=ANN, plan="studio")
    assert [back.line.quantity_ms for back in change.returned] == [1_500_000], "300 s of Studio were for the first half"


async def test_who_changes_right_back_pays_nothing(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(HALF)
    await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")
    change = await shop.sells(preview_change, customer_id=ANN, plan="studio")
    assert change.returned[0].line.facts == {"included_ms": 1_500_000, "rest_s": 1_339_200, "whole_s": 1_339_200}
    await shop.sells(change_plan, customer_id=ANN, plan="studio", source="c2")
    assert await shop.balances(ANN) == {"paid": (5000 - 530) * YUAN, "subscription": 600_000}
    await clock.set(HALF + timedelta(seconds=1_339_200 // 2))
    change = await shop.sells(preview_change, customer_id=ANN, plan="studio-pro")
    assert change.returned[0].line.quantity_ms == 150_000, "half of what the second half was given"


async def test_a_change_that_would_make_a_balance_negative_writes_nothing(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=600 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(HALF)
    before = (await shop.balances(ANN), await subscriptions(shop.conn, ANN), await shop.books())
    with pytest.raises(PlanChangeRefused, match=r"costs ¥1,060.00 now, ¥265.00 comes back, and the wallet has ¥70.00"):
        await change_plan(shop.conn, shop.sellers, customer_id=ANN, plan="studio-pro", source="c1")
    assert (await shop.balances(ANN), await subscriptions(shop.conn, ANN), await shop.books()) == before


async def test_seconds_that_are_held_do_not_come_back(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=3000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    job = await shop.holds(ANN, 550_000)
    assert isinstance(job, UUID)
    await clock.set(HALF)
    await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")
    await shop.settles(ANN, job, 550_000)
    assert (await shop.balances(ANN))["subscription"] == 1_500_000


async def test_from_free_to_paid_and_back(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=600 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="free", source="s1")
    assert await shop.balances(ANN) == {"paid": 600 * YUAN, "allowance": 20_000}
    await clock.set(HALF)
    begun = await shop.sells(change_plan, customer_id=ANN, plan="studio", source="c1")
    assert await shop.balances(ANN) == {"paid": 70 * YUAN, "subscription": 600_000}
    assert begun.period is not None and begun.period.ends_at == datetime(2026, 2, 15, 16, tzinfo=UTC)
    await shop.sells(change_plan, customer_id=ANN, plan="free", source="c2")
    assert (await shop.balances(ANN))["allowance"] == 20_000


async def test_what_cannot_be_changed_says_why(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=600 * YUAN)
    with pytest.raises(UnknownSubscription):
        await shop.sells(change_plan, customer_id=ANN, plan="studio", source="c1")
    await shop.sells(subscribe, customer_id=ANN, plan="enterprise", source="s1")
    with pytest.raises(PlanChangeRefused, match="is a contract"):
        await shop.sells(change_plan, customer_id=ANN, plan="studio", source="c1")
    with pytest.raises(PlanChangeRefused, match="is the plan already"):
        await shop.sells(change_plan, customer_id=ANN, plan="enterprise", source="c1")
    assert (await shop.does(cancel, ANN)).ends_at == datetime(2026, 1, 31, 16, tzinfo=UTC)


async def test_a_period_that_is_over_is_renewed_first(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    with pytest.raises(PlanChangeRefused, match="about to be renewed"):
        await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")
    await shop.sells(renew_due)
    assert (await shop.sells(change_plan, customer_id=ANN, plan="studio-pro", source="c1")).state == "active"


plans = st.builds(
    SubscriptionPlan, name=st.just("p"), title=st.just("P"), currency=st.just("CNY"), every=st.just(Every("month")),
    fee_micro=st.integers(1, 10**8).map(lambda fen: fen * MINOR), seconds_class=st.just("standard"),
    included_ms=st.integers(1, 10**9),
)  # fmt: skip
periods = st.builds(
    lambda days: Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)),
    st.integers(1, 40),
)


@given(plans, periods, st.data())
def test_parts_of_a_period_are_never_more_than_the_whole(plan: SubscriptionPlan, period: Period, data: st.DataObject) -> None:
    at = period.starts_at + timedelta(seconds=data.draw(st.integers(0, period.length_s)))
    left_ms = data.draw(st.integers(0, plan.included_ms))
    rest = rest_of(plan, period, at)
    back = unused_of(whole_of(plan), period, at, left_ms=left_ms)
    assert 0 <= rest.price_micro <= plan.fee_micro and rest.price_micro % MINOR == 0
    assert 0 <= rest.quantity_ms <= plan.included_ms
    assert abs(rest.price_micro * period.length_s - plan.fee_micro * int(rest.facts["rest_s"])) <= MINOR * period.length_s
    assert back.quantity_ms == min(left_ms, rest.quantity_ms), "what comes back for the same plan is what is charged again"
    if rest.quantity_ms:
        again = unused_of(rest, period, at, left_ms=rest.quantity_ms)
        assert again.quantity_ms == rest.quantity_ms, "who changes right back gets all of it back"
