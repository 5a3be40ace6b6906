"""One life of a platform at Stripe, through the official SDK: every resource is made, read, changed and listed at least once."""

from contextlib import suppress
from decimal import Decimal

import stripe
from stripe import StripeClient

from tests.stripe.control import Control

DAY_S = 24 * 3600
CARD: stripe.params.PaymentIntentCreateParams = {
    "amount": 20000,
    "currency": "usd",
    "allowed_payment_method_types": ["card"],
    "confirm": True,
}


async def walk(client: StripeClient, control: Control) -> None:
    customer = await open_customer(client)
    await pay(client, control, customer)
    await save_cards(client, control, customer)
    await check_out(client, customer)
    await invoice(client, control, customer)
    await share(client, control)
    await pay_out(client, control)


async def open_customer(client: StripeClient) -> str:
    customer = await client.v1.customers.create_async(
        {
            "email": "ada@example.com",
            "name": "Ada",
            "address": {"line1": "1 Street", "city": "Paris", "country": "FR", "postal_code": "75001"},
            "tax_id_data": [{"type": "eu_vat", "value": "FR12345678901"}],
        }
    )
    await client.v1.webhook_endpoints.create_async({"url": "http://127.0.0.1:9/hook", "enabled_events": ["*"]})
    method = await client.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    await client.v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    await client.v1.customers.tax_ids.create_async(customer.id, {"type": "cn_tin", "value": "91110000000000000X"})
    await client.v1.customers.delete_async((await client.v1.customers.create_async()).id)
    return customer.id


async def pay(client: StripeClient, control: Control, customer: str) -> None:
    for token in ("pm_card_bypassPending", "pm_card_pendingRefund", "pm_card_refundFail"):
        intent = await client.v1.payment_intents.create_async({**CARD, "payment_method": token})
        await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 500, "reason": "requested_by_customer"})
    held = await client.v1.payment_intents.create_async({**CARD, "payment_method": "pm_card_visa", "capture_method": "manual"})
    await client.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 15000})
    await client.v1.payment_intents.cancel_async(
        (await client.v1.payment_intents.create_async({"amount": 100, "currency": "usd"})).id
    )
    for token in ("pm_card_createDispute", "pm_card_createDisputeInquiry", "pm_card_visa_chargeDeclined"):
        with suppress(stripe.CardError):
            await client.v1.payment_intents.create_async({**CARD, "customer": customer, "payment_method": token})
    for dispute in (await client.v1.disputes.list_async()).data:
        await client.v1.disputes.update_async(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    step = await client.v1.payment_intents.create_async({**CARD, "payment_method": "pm_card_authenticationRequired"})
    await control.authenticate(step.id, ok=True)
    for wallet in ("alipay", "wechat_pay"):
        intent = await client.v1.payment_intents.create_async(
            {
                "amount": 10000,
                "currency": "cny",
                "confirm": True,
                "payment_method_data": {"type": wallet},
                "payment_method_options": {"wechat_pay": {"client": "web"}},
                "return_url": "https://example.com/back",
            }
        )
        paid = await control.authenticate(intent.id, ok=True)
        await client.v1.refunds.create_async({"charge": paid["latest_charge"]})
    failed = await client.v1.payment_intents.create_async({**CARD, "payment_method": "pm_card_authenticationRequired"})
    await control.authenticate(failed.id, ok=False)
    await control.advance(3 * DAY_S)


async def save_cards(client: StripeClient, control: Control, customer: str) -> None:
    for token in ("pm_card_mastercard", "pm_card_authenticationRequiredOnSetup"):
        intent = await client.v1.setup_intents.create_async(
            {"customer": customer, "payment_method": token, "confirm": True, "return_url": "https://example.com"}
        )
        if intent.status == "requires_action":
            await control.authenticate(intent.id, ok=True)
    await client.v1.billing_portal.sessions.create_async({"customer": customer, "return_url": "https://example.com"})


async def check_out(client: StripeClient, customer: str) -> None:
    session = await client.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "customer": customer,
            "success_url": "https://example.com/done?session={CHECKOUT_SESSION_ID}",
            "line_items": [
                {"quantity": 2, "price_data": {"currency": "cny", "unit_amount": 5000, "product_data": {"name": "Credit"}}},
            ],
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"top_up": "t2"}},
            "expand": ["line_items"],
        }
    )
    await client.v1.checkout.sessions.expire_async(session.id)
    await client.v1.checkout.sessions.create_async(
        {"mode": "setup", "customer": customer, "currency": "cny", "success_url": "https://example.com"}
    )
    product = await client.v1.products.create_async({"name": "Seconds"})
    await client.v1.prices.create_async({"product": product.id, "currency": "cny", "unit_amount": 900})


async def invoice(client: StripeClient, control: Control, customer: str) -> None:
    await client.v1.invoice_items.create_async({"customer": customer, "amount": 30000, "currency": "usd", "description": "Video"})
    drawn = await client.v1.invoices.create_async(
        {"customer": customer, "currency": "usd", "pending_invoice_items_behavior": "include"}
    )
    drawn = await client.v1.invoices.finalize_invoice_async(drawn.id, {"expand": ["payments", "confirmation_secret"]})
    note = await client.v1.credit_notes.create_async({"invoice": drawn.id, "amount": 1000, "reason": "order_change"})
    await client.v1.invoices.pay_async(drawn.id)
    await client.v1.credit_notes.create_async(
        {
            "invoice": drawn.id,
            "lines": [{"type": "custom_line_item", "description": "A lost minute", "unit_amount": 700, "quantity": 2}],
            "refund_amount": 1000,
            "credit_amount": 400,
        }
    )
    await client.v1.credit_notes.update_async(note.id, {"memo": "agreed"})
    sent = await client.v1.invoices.create_async(
        {"customer": customer, "collection_method": "send_invoice", "days_until_due": 14}
    )
    await client.v1.invoice_items.create_async(
        {"customer": customer, "invoice": sent.id, "quantity": 3, "unit_amount_decimal": Decimal("150.5")}
    )
    await client.v1.invoices.send_invoice_async(sent.id)
    await control.advance(15 * DAY_S)
    await client.v1.invoices.mark_uncollectible_async(sent.id)
    await client.v1.invoices.void_invoice_async(sent.id)
    assert [one.status for one in (await client.v1.invoice_payments.list_async({"invoice": drawn.id})).data] == ["paid"]


async def share(client: StripeClient, control: Control) -> None:
    account = await client.v1.accounts.create_async(
        {
            "type": "express",
            "country": "US",
            "email": "payee@example.com",
            "capabilities": {"transfers": {"requested": True}},
        }
    )
    await client.v1.account_links.create_async(
        {
            "account": account.id,
            "type": "account_onboarding",
            "return_url": "https://example.com/back",
            "refresh_url": "https://example.com/again",
        }
    )
    await control.require(account.id)
    transfer = await client.v1.transfers.create_async({"amount": 5000, "currency": "usd", "destination": account.id})
    await client.v1.transfers.reversals.create_async(transfer.id, {"amount": 1000})
    own: stripe.RequestOptions = {"stripe_account": account.id}
    payout = await client.v1.payouts.create_async({"amount": 2000, "currency": "usd"}, own)
    assert payout.status == "pending"
    balance = await client.v1.balance.retrieve_async(None, own)
    assert [part.amount for part in balance.available] == [2000]


async def pay_out(client: StripeClient, control: Control) -> None:
    paid = await client.v1.payouts.create_async({"amount": 3000, "currency": "usd"})
    failed = await client.v1.payouts.create_async({"amount": 2000, "currency": "usd"})
    await client.v1.payouts.cancel_async((await client.v1.payouts.create_async({"amount": 1000, "currency": "usd"})).id)
    await control.settle_payout(failed.id, "account_closed")
    await control.settings(payouts="daily")
    await control.advance(4 * DAY_S)
    assert (await client.v1.payouts.retrieve_async(paid.id)).status == "paid"
