"""Saved methods, recharges and their limits, and what happens when the bank wants to see its customer."""

import json
from urllib.parse import urlsplit

import httpx

from billing.stripe.methods import methods
from billing.stripe.recharge import Recharge, note_recharges, set_paying
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.stripe.visitor import Visitor

TWICE = Recharge(threshold_micro=50 * YUAN, amount_minor=100_00, month_max_minor=250_00)


async def saves(office: Office, card: str) -> None:
    """A card is saved at Stripe, and Stripe says so."""
    _, stripe_id = await office.desk.payer(ANN)
    assert await office.posts(f"payment_methods/{card}/attach", customer=stripe_id) == 200
    await office.hears([event for event in await office.events() if event["type"] == "payment_method.attached"])


async def recharges(office: Office, recharge: Recharge = TWICE) -> None:
    await office.shop.does(set_paying, ANN, collects="send", recharge=recharge, return_url=RETURN)


async def round_of_the_clerk(office: Office) -> None:
    await office.shop.does(note_recharges)
    await office.desk.poll()


async def told(office: Office, kind: str) -> list[str]:
    rows = await office.shop.conn.fetch("SELECT data::text AS data FROM billing.event WHERE kind = $1 ORDER BY position", kind)
    return [row["data"] for row in rows]


async def test_what_is_saved_is_shown_and_forgotten(office: Office) -> None:
    await saves(office, "pm_card_visa")
    (saved,) = await methods(office.shop.conn, ANN)
    assert (saved.kind, saved.label) == ("card", "visa ···· 4242")
    await office.desk.forget_method(ANN, saved.id)
    assert await methods(office.shop.conn, ANN) == []


async def test_a_wallet_that_runs_low_is_recharged_up_to_the_months_limit(office: Office) -> None:
    await saves(office, "pm_card_visa")
    await recharges(office)
    for expected in (100, 100):
        await round_of_the_clerk(office)
        assert await office.balances() == {"paid": expected * YUAN}
        await round_of_the_clerk(office)
        assert await office.balances() == {"paid": expected * YUAN}
        await office.shop.makes(ANN, 62_500)
        assert await office.balances() == {}
    for _ in range(2):
        await round_of_the_clerk(office)
    assert await office.balances() == {} and len(await told(office, "recharge.paused")) == 1
    # Its month ends at midnight in Shanghai.
    await office.advance(days=30, hours=15, minutes=59)
    await round_of_the_clerk(office)
    assert await office.balances() == {}
    await office.advance(minutes=1)
    await round_of_the_clerk(office)
    assert await office.balances() == {"paid": 100 * YUAN}


async def test_a_card_that_is_declined_pauses_the_recharge_until_it_is_set_again(office: Office) -> None:
    await saves(office, "pm_card_chargeCustomerFail")
    await recharges(office)
    for _ in range(3):
        await round_of_the_clerk(office)
        await office.advance(hours=1)
    assert [row["state"] for row in await office.shop.conn.fetch("SELECT state FROM billing.payment")] == ["failed"]
    assert len(await told(office, "recharge.paused")) == 1
    await recharges(office)
    await round_of_the_clerk(office)
    assert len(await told(office, "recharge.paused")) == 2


async def asked_for_by_hand(office: Office) -> str:
    """A recharge for which the bank wants its customer; the page that the customer was told of."""
    await saves(office, "pm_card_authenticationRequired")
    await recharges(office)
    await round_of_the_clerk(office)
    await round_of_the_clerk(office)
    rows = await office.shop.conn.fetch("SELECT flow, state, failure FROM billing.payment ORDER BY created_at, flow DESC")
    assert [tuple(row) for row in rows] == [("saved", "failed", "authentication_required"), ("checkout", "open", "")]
    (asked,) = await told(office, "payment.action_required")
    assert "http" in asked
    await office.desk.poll()
    assert len(await told(office, "payment.action_required")) == 1
    return json.loads(asked)["url"]


async def test_the_page_that_the_bank_asked_for_recharges_the_wallet(office: Office) -> None:
    url = await asked_for_by_hand(office)
    parts = urlsplit(url)
    async with httpx.AsyncClient(base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False) as client:
        visitor = Visitor(client)
        await visitor.open(url)
        await visitor.press("Card", number="4242 4242 4242 4242", email="ada@example.com")
        assert visitor.url == RETURN
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 100 * YUAN}
    assert await told(office, "recharge.paused") == []


async def test_a_page_that_nobody_uses_pauses_the_recharge(office: Office) -> None:
    await asked_for_by_hand(office)
    for _ in range(4):
        await office.advance(hours=7)
        await round_of_the_clerk(office)
    assert await office.balances() == {} and len(await told(office, "recharge.paused")) == 1
    assert [row["state"] for row in await office.shop.conn.fetch("SELECT state FROM billing.payment")] == ["failed", "failed"]


async def test_what_a_payment_is_charged_with_may_be_saved_on_the_way(office: Office) -> None:
    await office.pays(100_00, saves=True)
    await office.hears(await office.events())
    assert [saved.label for saved in await methods(office.shop.conn, ANN)] == ["visa ···· 4242"]
    await recharges(office, Recharge(threshold_micro=150 * YUAN, amount_minor=100_00, month_max_minor=100_00))
    await round_of_the_clerk(office)
    assert await office.balances() == {"paid": 200 * YUAN}
