"""Money in: what a customer pays arrives in its wallet once, whatever is said about it and however often."""

import pytest

from billing.errors import InsufficientFunds, PaymentConflict, PaymentRefused, StripeAway
from billing.stripe import sql
from billing.stripe.book import fail
from billing.stripe.model import Order
from billing.stripe.note import note_payment
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, RETURN, Office

HUNDRED = {"paid": 100 * YUAN}


async def test_a_card_pays_the_wallet_and_stripe_its_fee(office: Office) -> None:
    started = await office.pays(100_00)
    assert started.client_secret and started.payment.state == "open"
    await office.hears(await office.events())
    assert await office.balances() == HUNDRED
    # 2.9 % and 2 yuan.
    assert await office.books() == {"asset:clearing": -(100 - 4_90 / 100) * YUAN, "expense:stripe_fee": -4_900_000}
    again = await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    assert (again.payment.state, again.payment.booked, again.payment.received_minor) == ("succeeded", "wallet", 100_00)


async def test_without_a_single_message_the_reconciler_finds_it(office: Office) -> None:
    await office.pays(100_00)
    assert await office.balances() == {}
    await office.reconciles()
    assert await office.balances() == HUNDRED


async def test_a_source_pays_once(office: Office) -> None:
    first = await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    again = await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    assert (first.payment.id, first.client_secret) == (again.payment.id, again.client_secret)
    with pytest.raises(PaymentConflict):
        await office.desk.pay(ANN, Order(amount_minor=200_00, flow="intent"), "s")


async def test_a_declined_card_may_be_followed_by_another(office: Office) -> None:
    started = await office.pays(100_00, "pm_card_visa_chargeDeclined")
    await office.hears(await office.events())
    assert await office.balances() == {}
    assert await office.confirms(started) == 200
    await office.hears(await office.events())
    assert await office.balances() == HUNDRED


async def test_alipay_and_wechat_pay_wait_for_the_customer(office: Office) -> None:
    for nth, kind in enumerate(("alipay", "wechat_pay"), 1):
        order = Order(amount_minor=100_00, flow="intent", methods=(kind,))
        started = await office.desk.pay(ANN, order, kind)
        form = {"payment_method_data[type]": kind, "payment_method_options[wechat_pay][client]": "web", "return_url": RETURN}
        assert await office.posts(f"payment_intents/{started.payment.intent_id}/confirm", **form) == 200
        await office.hears(await office.events())
        assert (await office.balances()).get("paid", 0) == (nth - 1) * 100 * YUAN
        await office.control.authenticate(str(started.payment.intent_id), ok=True)
        await office.hears(await office.events())
        assert await office.balances() == {"paid": nth * 100 * YUAN}


async def test_what_nobody_finishes_is_given_up_and_cannot_be_paid_any_more(office: Office) -> None:
    started = await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    await office.reconciles()
    await office.reconciles()
    ended = await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    assert ended.payment.state == "failed"
    assert await office.confirms(started) == 400


async def test_an_amount_stripe_does_not_take_is_refused_at_once(office: Office) -> None:
    with pytest.raises(PaymentRefused):
        await office.desk.pay(ANN, Order(amount_minor=1, flow="intent"), "s")
    assert (await office.desk.pay(ANN, Order(amount_minor=1, flow="intent"), "s")).payment.failure == "amount_too_small"


async def test_a_pack_is_bought_with_the_payment(office: Office) -> None:
    await office.pays(0, purpose="pack", subject="pack-1000")
    await office.hears(await office.events())
    assert await office.balances() == {"pack": 1_000_000}


async def test_money_for_what_can_not_be_bought_stays_in_the_wallet(office: Office) -> None:
    await office.pays(0, purpose="subscription", subject="studio", source="one")
    await office.pays(0, purpose="subscription", subject="studio", source="two")
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 530 * YUAN, "subscription": 600_000}
    kinds = [row["kind"] for row in await office.shop.conn.fetch("SELECT kind FROM billing.event ORDER BY position")]
    assert kinds.count("payment.succeeded") == 2 and kinds.count("purchase.refused") == 1


async def test_nothing_is_held_while_a_dispute_has_taken_more_than_there_is(office: Office) -> None:
    await office.pays(100_00)
    await office.hears(await office.events())
    await office.shop.makes(ANN, 50_000)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    dispute = await office.control.dispute(charge)
    await office.hears(await office.events())
    assert await office.balances() == {"paid": -80 * YUAN}
    assert isinstance(await office.shop.holds(ANN, 1), InsufficientFunds)
    await office.control.close_dispute(dispute["id"], "won")
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 20 * YUAN}
    assert not isinstance(await office.shop.holds(ANN, 1), InsufficientFunds)


async def test_an_answer_that_is_lost_for_longer_than_a_key_lasts_is_looked_for(office: Office) -> None:
    # The process dies between Stripe's answer and its booking, and nobody comes for a day.
    _, stripe_id = await office.desk.payer(ANN)
    order = Order(amount_minor=100_00, flow="intent")
    noted = await office.shop.sells(note_payment, customer_id=ANN, order=order, source="s")
    made = await office.stripe.create_intent(noted, stripe_id)
    await office.advance(days=1)
    await office.desk.poll()
    again = await office.desk.pay(ANN, order, "s")
    assert again.payment.intent_id == made.id and len((await office.control.dump())["tables"]["payment_intent"]) == 1


async def test_what_never_reached_stripe_is_given_up_and_not_sent_late(office: Office) -> None:
    await office.desk.payer(ANN)
    await office.control.fault("reset", method="POST", path="/v1/payment_intents", times=3)
    with pytest.raises(StripeAway):
        await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")
    await office.advance(days=1)
    await office.desk.poll()
    given_up = (await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")).payment
    assert (given_up.state, given_up.failure) == ("failed", "never_sent")
    assert "payment_intent" not in (await office.control.dump())["tables"]


async def test_what_is_paid_twice_is_the_customers_twice(office: Office) -> None:
    started = await office.pays(100_00)
    form = {"amount": 100_00, "currency": "cny", "payment_method": "pm_card_visa", "confirm": "true", "return_url": RETURN}
    assert await office.posts("payment_intents", **form, **{"metadata[tallylight_payment]": str(started.payment.id)}) == 200
    await office.hears([*(await office.events()), *reversed(await office.events())])
    assert await office.balances() == {"paid": 200 * YUAN}


async def test_money_that_arrives_after_a_payment_was_given_up_is_booked(office: Office) -> None:
    started = await office.pays(100_00)
    async with office.shop.conn.transaction():
        payment = await sql.LOCK_PAYMENT.one(office.shop.conn, started.payment.id)
        await fail(office.shop.conn, payment, "expired")
    await office.hears(await office.events())
    assert await office.balances() == HUNDRED
    assert (await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "s")).payment.failure == ""
