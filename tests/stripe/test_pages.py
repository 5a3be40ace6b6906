"""Stripe's pages as a customer meets them: Checkout, the bank, hosted invoices, the portal, onboarding."""

import os
from collections.abc import AsyncIterator

import httpx
import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control
from tests.stripe.server.server import Server
from tests.stripe.visitor import Visitor, browsing

GOOD, DECLINED, ASKS = "4242 4242 4242 4242", "4000 0000 0000 9995", "4000 0027 6000 3184"
DONE = "https://example.com/done?session={CHECKOUT_SESSION_ID}"


@pytest.fixture
async def visitor(stripe_server: Server) -> AsyncIterator[Visitor]:
    async with httpx.AsyncClient(base_url=stripe_server.url, trust_env=False) as client:
        yield Visitor(client)


async def session_for(client: StripeClient, success: str = DONE) -> stripe.checkout.Session:
    return await client.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "success_url": success,
            "cancel_url": "https://example.com/",
            "line_items": [
                {"quantity": 1, "price_data": {"currency": "cny", "unit_amount": 10000, "product_data": {"name": "Credit"}}}
            ],
            "payment_intent_data": {"metadata": {"top_up": "t1"}},
        }
    )


async def test_a_card_is_declined_then_another_one_pays(stripe_client: StripeClient, control: Control, visitor: Visitor) -> None:
    session = await session_for(stripe_client)
    assert session.url is not None
    await visitor.open(session.url)
    assert "100.00 CNY" in visitor.page
    await visitor.press("Card", number=DECLINED)
    assert visitor.alert == "Your card has insufficient funds."
    await visitor.press("Card", number=GOOD, email="ada@example.com")
    assert visitor.url == DONE.replace("{CHECKOUT_SESSION_ID}", session.id)
    paid = await stripe_client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["payment_intent.latest_charge", "line_items"]}
    )
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.customer_details is not None
    assert paid.customer_details.email == "ada@example.com"
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    assert paid.payment_intent.metadata.to_dict() == {"top_up": "t1"}
    types = [event.type for event in (await stripe_client.v1.events.list_async({"limit": 3})).data]
    assert types == ["checkout.session.completed", "payment_intent.succeeded", "charge.succeeded"]
    await visitor.open(session.url)
    assert "complete" in visitor.alert


async def test_a_bank_asks_and_the_customer_refuses_then_agrees(stripe_client: StripeClient, visitor: Visitor) -> None:
    session = await session_for(stripe_client)
    await visitor.open(session.url or "")
    await visitor.press("Card", number=ASKS)
    await visitor.press("Fail")
    assert "not authenticated" in visitor.alert
    await visitor.press("Card", number=ASKS)
    await visitor.press("Complete")
    assert visitor.url.startswith("https://example.com/done")
    assert (await stripe_client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"


@pytest.mark.parametrize("wallet", ["Alipay", "WeChat Pay"])
async def test_a_wallet_pays_on_its_own_page(stripe_client: StripeClient, visitor: Visitor, wallet: str) -> None:
    session = await session_for(stripe_client)
    await visitor.open(session.url or "")
    await visitor.press(wallet)
    assert f"<title>{wallet}</title>" in visitor.page
    await visitor.press("Complete")
    assert visitor.url.startswith("https://example.com/done")
    assert (await stripe_client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"


async def test_a_session_expires(stripe_client: StripeClient, control: Control, visitor: Visitor) -> None:
    session = await session_for(stripe_client)
    await control.advance(24 * 3600)
    await visitor.open(session.url or "")
    assert "expired" in visitor.alert
    assert [event.type for event in (await stripe_client.v1.events.list_async({"limit": 1})).data] == ["checkout.session.expired"]


async def test_a_card_is_saved_without_a_payment(stripe_client: StripeClient, visitor: Visitor) -> None:
    customer = await stripe_client.v1.customers.create_async({"name": "Ada"})
    session = await stripe_client.v1.checkout.sessions.create_async(
        {"mode": "setup", "customer": customer.id, "success_url": DONE}
    )
    await visitor.open(session.url or "")
    await visitor.press("Save card", number=GOOD)
    assert visitor.url.startswith("https://example.com/done")
    assert len((await stripe_client.v1.customers.payment_methods.list_async(customer.id)).data) == 1


async def test_cards_are_kept_in_the_portal(stripe_client: StripeClient, visitor: Visitor) -> None:
    customer = await stripe_client.v1.customers.create_async({"name": "Ada"})
    portal = await stripe_client.v1.billing_portal.sessions.create_async(
        {"customer": customer.id, "return_url": "https://example.com"}
    )
    await visitor.open(portal.url)
    await visitor.press("Add", number=DECLINED)
    assert visitor.alert == "Your card has insufficient funds."
    await visitor.press("Add", number=GOOD)
    await visitor.press("Make default")
    assert "(default)" in visitor.page
    await visitor.press("Remove")
    assert "4242," not in visitor.page
    kept = await stripe_client.v1.customers.retrieve_async(customer.id)
    assert kept.invoice_settings is not None
    assert kept.invoice_settings.default_payment_method is None


async def test_an_invoice_is_paid_on_its_page(stripe_client: StripeClient, visitor: Visitor) -> None:
    customer = await stripe_client.v1.customers.create_async({"name": "Ada"})
    invoice = await stripe_client.v1.invoices.create_async(
        {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 30}
    )
    await stripe_client.v1.invoice_items.create_async(
        {"customer": customer.id, "invoice": invoice.id, "amount": 5000, "description": "Video"}
    )
    invoice = await stripe_client.v1.invoices.send_invoice_async(invoice.id)
    await visitor.open(invoice.hosted_invoice_url or "")
    await visitor.press("Card", number=DECLINED)
    assert visitor.alert == "Your card has insufficient funds."
    await visitor.press("Card", number=ASKS)
    await visitor.press("Complete")
    assert (await stripe_client.v1.invoices.retrieve_async(invoice.id)).status == "paid"


async def test_a_payee_gives_what_stripe_asks(stripe_client: StripeClient, visitor: Visitor) -> None:
    account = await stripe_client.v1.accounts.create_async(
        {"type": "express", "capabilities": {"transfers": {"requested": True}}}
    )
    assert not account.payouts_enabled
    link = await stripe_client.v1.account_links.create_async(
        {
            "account": account.id,
            "type": "account_onboarding",
            "return_url": "https://example.com/back",
            "refresh_url": "https://example.com/again",
        }
    )
    await visitor.open(link.url)
    await visitor.press("Provide")
    assert visitor.url == "https://example.com/back"
    assert (await stripe_client.v1.accounts.retrieve_async(account.id)).payouts_enabled


async def test_a_page_that_is_not_there(visitor: Visitor, stripe_server: Server) -> None:
    for path in ("/nothing", "/checkout/cs_none", "/authenticate/pi_none", "/portal/bps_none"):
        await visitor.open(stripe_server.url + path)
        assert "<h1>" in visitor.page


@pytest.mark.knob("TALLYLIGHT_TEST_BROWSER")
async def test_a_real_browser_pays(stripe_client: StripeClient, stripe_server: Server) -> None:
    session = await session_for(stripe_client, f"{stripe_server.url}/done")
    async with browsing(os.environ["TALLYLIGHT_TEST_BROWSER"]) as browser:
        await browser.open(session.url or "")
        await browser.type("#card [name='card[number]']", DECLINED)
        await browser.click("#card button")
        assert await browser.text("[role=alert]") == "Your card has insufficient funds."
        await browser.type("#card [name='card[number]']", ASKS)
        await browser.click("#card button")
        await browser.click("form[action^='/authenticate/'] button")
        assert await browser.text("#done") == "You may close this page."
    assert (await stripe_client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"
