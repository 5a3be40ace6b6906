"""Alerts: each threshold of each period once; a wallet that runs dry, once for each top-up."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from billing.charges.rollup import roll_up
from billing.errors import BudgetInvalid, UnknownCustomer
from billing.plans.alerts import Budgeted, check_budgets, check_wallets, set_budget
from billing.plans.calendar import Every
from billing.plans.events import Event, events_after
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop

ANN, BEN = UUID(int=1), UUID(int=2)


def facts(event: Event) -> dict[str, int | str]:
    return msgspec.json.decode(event.data)


async def reached(shop: Shop, kind: str = "budget.reached") -> list[int | str]:
    key = "percent" if kind == "budget.reached" else "left_hours"
    return [facts(event)[key] for event in await events_after(shop.conn, 0, customer_id=ANN) if event.kind == kind]


async def test_each_threshold_is_told_once_a_period(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    await shop.does(set_budget, ANN, Budgeted(name="all", amount_micro=100 * YUAN))
    await shop.makes(ANN, 30_000)  # 48
    assert await shop.does(check_budgets) == 0
    await shop.makes(ANN, 2_000)  # 51.2
    assert await shop.does(check_budgets) == 1
    await shop.does(roll_up)
    assert await shop.does(check_budgets) == 0, "also when it is in the roll-up"
    await shop.makes(ANN, 40_000)
    assert await shop.does(check_budgets) == 2
    assert await reached(shop) == [50, 80, 100]
    await clock.set(datetime(2026, 1, 31, 16, tzinfo=UTC))
    assert await shop.does(check_budgets) == 0
    await shop.makes(ANN, 50_000)
    assert await shop.does(check_budgets) == 2
    assert await reached(shop) == [50, 80, 100, 50, 80]


async def test_a_budget_is_set_anew_by_its_name(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    weekly = Budgeted(name="all", amount_micro=100 * YUAN, every=Every("week"))
    assert await shop.does(set_budget, ANN, weekly) == await shop.does(set_budget, ANN, weekly)
    await shop.does(set_budget, ANN, Budgeted(name="all", amount_micro=10 * YUAN))
    await shop.makes(ANN, 10_000)
    assert await shop.does(check_budgets) == 3


@pytest.mark.parametrize("wrong", [
    Budgeted(name="", amount_micro=1),
    Budgeted(name="a", amount_micro=0),
    Budgeted(name="a", amount_micro=1.5),  # pyright: ignore[reportArgumentType] what a careless caller sends
    Budgeted(name="a", amount_micro=1, every=Every("year")),  # pyright: ignore[reportArgumentType] as above
])  # fmt: skip
async def test_a_budget_that_makes_no_sense(shop: Shop, wrong: Budgeted) -> None:
    await shop.opens(ANN)
    with pytest.raises(BudgetInvalid):
        await shop.does(set_budget, ANN, wrong)
    with pytest.raises(UnknownCustomer):
        await shop.does(set_budget, BEN, Budgeted(name="a", amount_micro=1))
    assert await shop.conn.fetchval("SELECT count(*) FROM billing.budget") == 0


async def test_a_wallet_that_runs_dry_is_told_once_a_top_up(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=100 * YUAN)
    await clock.advance(hours=1)
    await shop.makes(ANN, 10_000)  # 16 a day leave 84: five days
    assert await shop.does(check_wallets) == 0
    await shop.makes(ANN, 15_000)  # 40 a day leave 60: 36 hours
    assert await shop.does(check_wallets) == 1
    assert await shop.does(check_wallets) == 0
    await shop.makes(ANN, 25_000)  # 80 a day leave 20: 6 hours
    assert await shop.does(check_wallets) == 1
    assert await reached(shop, "wallet.runs_dry") == [36, 6]
    await clock.advance(minutes=1)
    await shop.tops_up(ANN, 30 * YUAN)
    assert await shop.does(check_wallets) == 1
    assert await reached(shop, "wallet.runs_dry") == [36, 6, 15]
    await clock.advance(days=2)
    assert await shop.does(check_wallets) == 0, "nothing was spent in the last day"


async def test_events_are_read_from_a_position_on(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    await shop.does(set_budget, ANN, Budgeted(name="all", amount_micro=10 * YUAN))
    await shop.makes(ANN, 10_000)
    await shop.does(check_budgets)
    first = await events_after(shop.conn, 0, limit=1)
    rest = await events_after(shop.conn, first[0].position, customer_id=ANN)
    assert [facts(event)["percent"] for event in [*first, *rest]] == [50, 80, 100]
    assert await events_after(shop.conn, rest[-1].position) == []
    assert await events_after(shop.conn, 0, customer_id=BEN) == []
