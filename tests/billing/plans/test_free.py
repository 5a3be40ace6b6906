"""Free work: an allowance of seconds, paid from a budget of ours in what it costs us."""

from datetime import UTC, datetime
from uuid import UUID

from billing.charges.hold import hold
from billing.charges.model import ChargeRequest
from billing.errors import BillingError, BudgetSpent
from billing.kit.ids import new_id
from billing.ledger.model import Held, Sponsor
from billing.plans.authorize import authorize
from billing.plans.budgets import open_budget_days
from billing.plans.catalogue import publish_catalogue
from billing.plans.model import Catalogue
from billing.plans.renew import expire_grants, renew_due
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import CATALOGUE, YUAN, Shop, terms

ANN, BEN, COY, DEE = UUID(int=1), UUID(int=2), UUID(int=3), UUID(int=4)
CENTS_15 = 15_000_000


async def orders(shop: Shop, customer: UUID, duration_ms: int, cost_micro: int) -> Held | BillingError:
    """As admission does: seconds of the allowance and the sponsor's part, all or nothing."""
    standing = (await shop.does(authorize, [customer]))[customer]
    assert standing.sponsor is not None
    request = ChargeRequest(
        id=new_id(), customer_id=customer, book="live", terms=terms(), quantity=duration_ms,
        sponsor=Sponsor(standing.sponsor, cost_micro),
    )  # fmt: skip
    (held,) = await shop.does(hold, [request])
    return held


async def test_when_the_day_is_spent_free_work_waits_for_the_next(shop: Shop, clock: Clock) -> None:
    assert await shop.does(open_budget_days) == 3
    assert await shop.does(open_budget_days) == 0
    for customer in (ANN, BEN):
        await shop.opens(customer)
        await shop.sells(subscribe, customer_id=customer, plan="free", source="s1")
    first, second = await orders(shop, ANN, 10_000, CENTS_15), await orders(shop, BEN, 10_000, CENTS_15)
    assert isinstance(first, Held) and (first.starts_at, first.seconds_ms, first.amount_micro) == (None, 10_000, 0)
    assert isinstance(second, Held) and second.starts_at == datetime(2026, 1, 1, 16, tzinfo=UTC)
    await clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    assert await shop.does(open_budget_days) == 1


async def test_or_is_refused_with_the_reason_where_no_later_day_may_pay(shop: Shop, clock: Clock) -> None:
    import msgspec

    (budget,) = CATALOGUE.budgets
    strict = Catalogue(CATALOGUE.plans, CATALOGUE.packs, (msgspec.structs.replace(budget, days_ahead=0),))
    await shop.does(publish_catalogue, strict)
    assert await shop.does(open_budget_days) == 1
    await shop.opens(ANN)
    await shop.sells(subscribe, customer_id=ANN, plan="free", source="s1")
    assert isinstance(await orders(shop, ANN, 5_000, CENTS_15), Held)
    refused = await orders(shop, ANN, 5_000, CENTS_15)
    assert isinstance(refused, BudgetSpent)
    await clock.set(datetime(2026, 1, 1, 16, tzinfo=UTC))
    await shop.does(open_budget_days)
    await shop.does(expire_grants)
    assert isinstance(await orders(shop, ANN, 5_000, CENTS_15), Held)


async def test_an_allowance_is_new_each_period_and_nothing_moves_on(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="free", source="s1")
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    assert await shop.sells(renew_due) == 1
    await shop.does(expire_grants)
    assert await shop.balances(ANN) == {"paid": YUAN, "allowance": 20_000}
    assert await shop.books() == {"asset:clearing": -YUAN, "units:issued": -40_000, "units:expired": 20_000}


async def test_admission_learns_of_everybody_in_one_statement(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=600 * YUAN)
    await shop.opens(BEN)
    await shop.opens(COY)
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.sells(subscribe, customer_id=BEN, plan="enterprise", source="s1")
    await shop.opens(DEE)
    await shop.sells(subscribe, customer_id=DEE, plan="free", source="s1")
    found = await shop.does(authorize, [ANN, BEN, COY, DEE, UUID(int=5)])
    assert set(found) == {ANN, BEN, DEE}
    assert found[ANN].sponsor is None and found[BEN].sponsor is None and found[DEE].sponsor is not None
    assert {standing.blocked for standing in found.values()} == {""}
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    await shop.sells(renew_due)
    assert (await shop.does(authorize, [ANN]))[ANN].blocked == "plan_past_due"


async def test_a_sponsor_pays_for_the_allowance_and_nothing_else(shop: Shop, clock: Clock) -> None:
    """Whoever has used the allowance up pays, and needs no budget of ours."""
    await shop.opens(ANN, topped_up=600 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="free", source="s1")
    await shop.does(open_budget_days)
    first = await orders(shop, ANN, 20_000, CENTS_15)
    assert isinstance(first, Held) and (first.seconds_ms, first.amount_micro) == (20_000, 0)
    for _ in range(3):
        paid = await orders(shop, ANN, 10_000, 100 * CENTS_15)
        assert isinstance(paid, Held) and paid.seconds_ms == 0 and paid.amount_micro > 0
