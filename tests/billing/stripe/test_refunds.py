"""Money back: set aside first, gone when Stripe says so, and the customer's again where it fails."""

import pytest

from billing.errors import InsufficientFunds, RefundRefused
from billing.stripe.model import PaymentRefund
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, Office

FEE = 4_900_000


async def paid(office: Office, card: str = "pm_card_visa") -> object:
    started = await office.pays(100_00, card)
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 100 * YUAN}
    return started.payment.id


async def gives_back(office: Office, payment: object, amount_minor: int | None = None, source: str = "r") -> PaymentRefund:
    return await office.desk.refund(ANN, payment, amount_minor=amount_minor, source=source)  # pyright: ignore[reportArgumentType] an id


async def test_a_refund_leaves_the_wallet_and_then_stripe(office: Office) -> None:
    payment = await paid(office)
    refund = await gives_back(office, payment, 40_00)
    assert (refund.state, refund.gone) == ("succeeded", True)
    assert await office.balances() == {"paid": 60 * YUAN}
    await office.hears(await office.events())
    await office.reconciles()
    assert await office.books() == {"asset:clearing": -60 * YUAN + FEE, "expense:stripe_fee": -FEE}


async def test_a_refund_that_fails_days_later_is_the_customers_again(office: Office) -> None:
    payment = await paid(office, "pm_card_refundFail")
    assert (await gives_back(office, payment)).state == "succeeded"
    assert await office.balances() == {}
    await office.advance(days=2)
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 100 * YUAN}
    assert (await gives_back(office, payment)).state == "failed"
    await office.reconciles()
    assert await office.books() == {"asset:clearing": -100 * YUAN + FEE, "expense:stripe_fee": -FEE}


async def test_no_more_is_given_back_than_is_left(office: Office) -> None:
    payment = await paid(office)
    await gives_back(office, payment, 60_00, "one")
    with pytest.raises(RefundRefused):
        await gives_back(office, payment, 41_00, "two")
    with pytest.raises(RefundRefused):
        await gives_back(office, payment, 50_00, "one")
    assert (await gives_back(office, payment, None, "three")).amount_minor == 40_00
    assert await office.balances() == {}


async def test_what_was_spent_is_not_given_back(office: Office) -> None:
    payment = await paid(office)
    await office.shop.makes(ANN, 50_000)
    with pytest.raises(InsufficientFunds):
        await gives_back(office, payment)
    assert (await gives_back(office, payment, 20_00)).state == "succeeded"


async def test_what_stripe_refuses_is_the_customers_again(office: Office) -> None:
    payment = await paid(office)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    # Disputed at Stripe, and nobody has told us yet.
    await office.control.dispute(charge)
    assert (await gives_back(office, payment)).state == "failed"
    assert await office.balances() == {"paid": 100 * YUAN}


async def test_a_refund_made_at_stripe_is_taken_from_the_wallet_whatever_is_in_it(office: Office) -> None:
    await paid(office)
    await office.shop.makes(ANN, 50_000)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    assert await office.posts("refunds", charge=charge, amount=50_00) == 200
    await office.hears(await office.events())
    assert await office.balances() == {"paid": -30 * YUAN}


async def test_fees_arrive_late_and_are_booked_then(office: Office) -> None:
    await office.control.settings(balance_transaction="on_command")
    await paid(office)
    assert await office.books() == {"asset:clearing": -100 * YUAN}
    (charge,) = (await office.control.dump())["tables"]["charge"]
    await office.control.settle_charge(charge)
    await office.desk.read_account()
    assert await office.books() == {"asset:clearing": -100 * YUAN + FEE, "expense:stripe_fee": -FEE}


async def test_money_that_settles_in_another_currency_leaves_the_difference_on_the_exchange(office: Office) -> None:
    await office.control.settings(settles={"cny": "usd"})
    payment = await paid(office)
    await office.desk.read_account()
    # 100 yuan became 13.89 dollars, of which Stripe keeps 2.9 % and 30 cents.
    rows = await office.shop.conn.fetch(
        "SELECT a.path, sum(e.amount)::bigint AS amount FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
        " WHERE a.wallet_id IS NULL GROUP BY a.path HAVING sum(e.amount) <> 0 ORDER BY a.path"
    )
    assert {row["path"]: row["amount"] for row in rows} == {
        "asset:clearing:live:USD": -13_890_000 + 700_000, "expense:stripe_fee:live:USD": -700_000,
        "memo:exchange:live:CNY": -100 * YUAN, "memo:exchange:live:USD": 13_890_000,
    }  # fmt: skip
    # Given back at another rate: what the yuan cost us is what is left on the dollar's side.
    await office.control.settings(rates={"cny/usd": "0.1400", "usd/cny": "7.1"})
    await gives_back(office, payment)
    await office.desk.read_account()
    rows = await office.shop.conn.fetch(
        "SELECT a.path, sum(e.amount)::bigint AS amount FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
        " WHERE a.path LIKE 'memo:exchange%' GROUP BY a.path ORDER BY a.path"
    )
    assert {row["path"]: row["amount"] for row in rows} == {"memo:exchange:live:CNY": 0, "memo:exchange:live:USD": -110_000}
