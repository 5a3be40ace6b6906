"""Payments through the official SDK: cards, declines, 3-D Secure, wallets, refunds, and what each leaves on the balance."""

import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control


async def customer_with(client: StripeClient, token: str) -> tuple[str, str]:
    """Ids of a customer and of the card saved for it."""
    customer = await client.v1.customers.create_async({"email": "a@example.com", "name": "Ada"})
    method = await client.v1.payment_methods.attach_async(token, {"customer": customer.id})
    return customer.id, method.id


async def test_a_card_pays_and_the_balance_shows_it_less_the_fee(stripe_client: StripeClient) -> None:
    customer, method = await customer_with(stripe_client, "pm_card_visa")
    intent = await stripe_client.v1.payment_intents.create_async(
        {
            "amount": 10000,
            "currency": "usd",
            "customer": customer,
            "payment_method": method,
            "off_session": True,
            "confirm": True,
            "allowed_payment_method_types": ["card"],
            "metadata": {"top_up": "t1"},
            "expand": ["latest_charge.balance_transaction"],
        }
    )
    assert intent.status == "succeeded"
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.metadata.to_dict() == {"top_up": "t1"}
    movement = charge.balance_transaction
    assert isinstance(movement, stripe.BalanceTransaction)
    assert (movement.amount, movement.fee, movement.net, movement.status) == (10000, 320, 9680, "pending")
    balance = await stripe_client.v1.balance.retrieve_async()
    assert [(part.currency, part.amount) for part in balance.pending] == [("usd", 9680)]


async def test_a_declined_card_says_why(stripe_client: StripeClient) -> None:
    customer, method = await customer_with(stripe_client, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as caught:
        await stripe_client.v1.payment_intents.create_async(
            {
                "amount": 10000,
                "currency": "usd",
                "customer": customer,
                "payment_method": method,
                "off_session": True,
                "confirm": True,
                "allowed_payment_method_types": ["card"],
            }
        )
    assert caught.value.code == "card_declined"
    error = caught.value.error
    assert error is not None
    assert error.decline_code == "generic_decline"
    assert error.payment_intent is not None
    assert error.payment_intent["status"] == "requires_payment_method"
    assert caught.value.request_id


async def test_an_authentication_needed_off_session_is_a_decline_and_on_session_a_step(
    stripe_client: StripeClient, control: Control
) -> None:
    customer, method = await customer_with(stripe_client, "pm_card_authenticationRequired")
    wanted: stripe.params.PaymentIntentCreateParams = {
        "amount": 5000,
        "currency": "cny",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
    }
    with pytest.raises(stripe.CardError) as caught:
        await stripe_client.v1.payment_intents.create_async({**wanted, "off_session": True})
    assert caught.value.code == "authentication_required"
    intent = await stripe_client.v1.payment_intents.create_async({**wanted, "return_url": "https://example.com/back"})
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.type == "redirect_to_url"
    await control.authenticate(intent.id, ok=True)
    assert (await stripe_client.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"


@pytest.mark.parametrize("ok, status", [(True, "succeeded"), (False, "requires_payment_method")])
@pytest.mark.parametrize("type", ["alipay", "wechat_pay"])
async def test_a_wallet_is_paid_on_its_own_page(
    stripe_client: StripeClient, control: Control, type: str, ok: bool, status: str
) -> None:
    intent = await stripe_client.v1.payment_intents.create_async(
        {
            "amount": 10000,
            "currency": "cny",
            "allowed_payment_method_types": [type],
            "payment_method_data": {"type": type},
            "payment_method_options": {"wechat_pay": {"client": "web"}},
            "return_url": "https://example.com/back",
            "confirm": True,
        }
    )
    assert intent.status == "requires_action"
    await control.authenticate(intent.id, ok=ok)
    assert (await stripe_client.v1.payment_intents.retrieve_async(intent.id)).status == status


async def test_a_refund_may_succeed_pend_or_fail_later(stripe_client: StripeClient, control: Control) -> None:
    ends = {"pm_card_visa": ("succeeded", "succeeded"), "pm_card_pendingRefund": ("pending", "succeeded")}
    ends["pm_card_refundFail"] = ("succeeded", "failed")
    for token, (first, last) in ends.items():
        intent = await stripe_client.v1.payment_intents.create_async(
            {
                "amount": 1000,
                "currency": "usd",
                "payment_method": token,
                "confirm": True,
                "allowed_payment_method_types": ["card"],
            }
        )
        refund = await stripe_client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 400})
        assert refund.status == first
        await control.advance(2 * 24 * 3600)
        refund = await stripe_client.v1.refunds.retrieve_async(refund.id)
        assert refund.status == last
    movements = await stripe_client.v1.balance_transactions.list_async({"limit": 100})
    assert sorted(one.type for one in movements.data) == ["charge"] * 3 + ["refund"] * 3 + ["refund_failure"]


async def test_more_than_was_paid_is_not_refunded(stripe_client: StripeClient) -> None:
    intent = await stripe_client.v1.payment_intents.create_async(
        {
            "amount": 1000,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1001})
    await stripe_client.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError, match="already been refunded") as caught:
        await stripe_client.v1.refunds.create_async({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"


async def test_a_dispute_takes_the_money_and_a_fee_and_gives_the_money_back_when_won(
    stripe_client: StripeClient, control: Control
) -> None:
    intent = await stripe_client.v1.payment_intents.create_async(
        {
            "amount": 5000,
            "currency": "usd",
            "payment_method": "pm_card_createDispute",
            "confirm": True,
            "allowed_payment_method_types": ["card"],
        }
    )
    (dispute,) = (await stripe_client.v1.disputes.list_async({"payment_intent": intent.id})).data
    assert (dispute.amount, dispute.status, dispute.reason) == (5000, "needs_response", "fraudulent")
    dispute = await stripe_client.v1.disputes.update_async(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert dispute.status == "won"
    assert [(one.net, one.fee) for one in dispute.balance_transactions] == [(-6500, 1500), (5000, 0)]
