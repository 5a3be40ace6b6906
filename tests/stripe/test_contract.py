"""What the product relies on, claimed of the offline server and, behind a knob, of a Stripe test account.

Each test makes its own objects and looks at no others, so an account that is shared does no harm.
"""

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import stripe
from stripe import StripeClient

from tests.stripe.server.server import Server

KNOB = "TALLYLIGHT_TEST_STRIPE_KEY"
BACK = "https://example.com/back"


@pytest.fixture(params=["offline", pytest.param("stripe", marks=pytest.mark.knob(KNOB))])
async def client(request: pytest.FixtureRequest, stripe_server: Server) -> AsyncIterator[StripeClient]:
    http = stripe.HTTPXClient(timeout=60)
    if request.param == "stripe":
        yield StripeClient(os.environ[KNOB], http_client=http)
    else:
        yield StripeClient("sk_test_offline", http_client=http, base_addresses={"api": stripe_server.url}, max_network_retries=0)
    await http.close_async()


def payment(**more: object) -> stripe.params.PaymentIntentCreateParams:
    wanted: dict[str, object] = {
        "amount": 2000,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "allowed_payment_method_types": ["card"],
        "capture_method": "automatic",
        "confirm": True,
        "return_url": BACK,
    }
    return wanted | more  # pyright: ignore[reportReturnType] - the parameters of a test, checked by the server


async def customer_of(client: StripeClient) -> str:
    return (await client.v1.customers.create_async({"name": "Ada"})).id


async def test_a_payment_leaves_a_charge_and_its_movement(client: StripeClient) -> None:
    intent = await client.v1.payment_intents.create_async(
        payment(metadata={"top_up": "t1"}, expand=["latest_charge.balance_transaction"])
    )
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (intent.status, intent.amount_received, charge.captured, charge.metadata.to_dict()) == (
        "succeeded",
        2000,
        True,
        {"top_up": "t1"},
    )
    movement = charge.balance_transaction
    assert isinstance(movement, stripe.BalanceTransaction)
    assert (movement.type, movement.source, movement.net) == ("charge", charge.id, movement.amount - movement.fee)
    assert movement.fee == sum(detail.amount for detail in movement.fee_details)


@pytest.mark.parametrize(
    "token, code, reason",
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
    ],
)
async def test_a_decline_says_why_and_leaves_the_intent_open(
    client: StripeClient, token: str, code: str, reason: str | None
) -> None:
    with pytest.raises(stripe.CardError) as caught:
        await client.v1.payment_intents.create_async(payment(payment_method=token))
    error = caught.value.error
    assert error is not None
    assert (caught.value.http_status, error.code, getattr(error, "decline_code", None)) == (402, code, reason)
    assert error.payment_intent is not None
    again = await client.v1.payment_intents.retrieve_async(error.payment_intent["id"])
    assert again.status == "requires_payment_method"
    assert again.last_payment_error is not None
    assert again.last_payment_error.code == code


async def test_a_bank_that_asks_is_a_decline_off_session_and_a_step_on_it(client: StripeClient) -> None:
    customer = await customer_of(client)
    method = await client.v1.payment_methods.attach_async("pm_card_authenticationRequired", {"customer": customer})
    with pytest.raises(stripe.CardError) as caught:
        await client.v1.payment_intents.create_async(payment(customer=customer, payment_method=method.id, off_session=True))
    assert caught.value.code == "authentication_required"
    intent = await client.v1.payment_intents.create_async(payment(customer=customer, payment_method=method.id))
    assert intent.status == "requires_action"
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert intent.next_action.redirect_to_url.return_url == BACK


async def test_a_key_repeats_its_answer_and_takes_no_other_request(client: StripeClient) -> None:
    key: stripe.RequestOptions = {"idempotency_key": str(uuid4())}
    first = await client.v1.payment_intents.create_async(payment(), key)
    again = await client.v1.payment_intents.create_async(payment(), key)
    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.payment_intents.create_async(payment(amount=3000), key)
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.customers.create_async({}, key)


@pytest.mark.parametrize(
    "more, code, param",
    [
        ({"amount": 1}, "amount_too_small", "amount"),
        ({"amount": "ten"}, "parameter_invalid_integer", "amount"),
        ({"currency": ""}, "parameter_missing", "currency"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"customer": "cus_none"}, "resource_missing", "customer"),
        ({"payment_method": "pm_none"}, "resource_missing", "payment_method"),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused(
    client: StripeClient, more: dict[str, object], code: str, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.create_async(payment(**more))
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


async def test_what_is_not_there_is_missing(client: StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.retrieve_async("pi_none")
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (404, "resource_missing", "intent")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.customers.retrieve_async("cus_none")
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (404, "resource_missing", "id")


async def test_no_more_is_refunded_than_was_paid(client: StripeClient) -> None:
    intent = await client.v1.payment_intents.create_async(payment())
    refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 500, "metadata": {"reason": "r1"}})
    assert (refund.status, refund.amount, refund.charge) == ("succeeded", 500, intent.latest_charge)
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 1501})
    await client.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"
    refunds = await client.v1.refunds.list_async({"payment_intent": intent.id})
    assert sorted(one.amount for one in refunds.data) == [500, 1500]


async def test_an_authorization_is_captured_or_let_go(client: StripeClient) -> None:
    intent = await client.v1.payment_intents.create_async(payment(capture_method="manual"))
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 2000)
    intent = await client.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 1200})
    assert (intent.status, intent.amount_received) == ("succeeded", 1200)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.cancel_async(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"
    other = await client.v1.payment_intents.create_async(payment(capture_method="manual"))
    assert (await client.v1.payment_intents.cancel_async(other.id)).status == "canceled"


async def test_a_card_is_saved_listed_and_taken_away_for_good(client: StripeClient) -> None:
    customer = await customer_of(client)
    saved = await client.v1.setup_intents.create_async(
        {
            "customer": customer,
            "payment_method": "pm_card_visa",
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "return_url": BACK,
        }
    )
    assert saved.status == "succeeded"
    (method,) = (await client.v1.customers.payment_methods.list_async(customer)).data
    assert method.id == saved.payment_method
    paid = await client.v1.payment_intents.create_async(payment(customer=customer, payment_method=method.id, off_session=True))
    assert paid.status == "succeeded"
    await client.v1.payment_methods.detach_async(method.id)
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_methods.attach_async(method.id, {"customer": customer})


async def test_a_card_that_is_always_declined_is_not_saved(client: StripeClient) -> None:
    customer = await customer_of(client)
    with pytest.raises(stripe.CardError) as caught:
        await client.v1.payment_methods.attach_async("pm_card_visa_chargeDeclined", {"customer": customer})
    assert caught.value.code == "card_declined"


async def test_a_list_is_read_page_by_page(client: StripeClient) -> None:
    customer = await customer_of(client)
    made = [
        (await client.v1.payment_intents.create_async({"amount": 2000, "currency": "usd", "customer": customer})).id
        for _ in range(5)
    ]
    page = await client.v1.payment_intents.list_async({"customer": customer, "limit": 2})
    assert page.has_more
    assert [one.id async for one in page.auto_paging_iter()] == made[::-1]


async def test_metadata_is_merged(client: StripeClient) -> None:
    customer = await client.v1.customers.create_async({"metadata": {"a": "1", "b": "2"}})
    customer = await client.v1.customers.update_async(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert customer.metadata is not None
    assert customer.metadata.to_dict() == {"b": "2", "c": "3"}


async def test_only_ids_are_expanded(client: StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.v1.customers.create_async({"name": "Ada", "expand": ["name"]})


async def test_a_session_waits_on_its_page_until_it_is_ended(client: StripeClient) -> None:
    session = await client.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "success_url": BACK,
            "line_items": [
                {"quantity": 2, "price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Credit"}}}
            ],
            "expand": ["line_items"],
        }
    )
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2000)
    assert session.url is not None
    assert session.line_items is not None
    assert [item.amount_total for item in session.line_items.data] == [2000]
    session = await client.v1.checkout.sessions.expire_async(session.id)
    assert (session.status, session.url) == ("expired", None)


async def test_an_invoice_is_made_of_items_paid_and_credited(client: StripeClient) -> None:
    customer = await customer_of(client)
    await client.v1.invoice_items.create_async({"customer": customer, "currency": "usd", "amount": 5000, "description": "Video"})
    invoice = await client.v1.invoices.create_async(
        {"customer": customer, "currency": "usd", "pending_invoice_items_behavior": "include"}
    )
    assert (invoice.status, invoice.total) == ("draft", 5000)
    invoice = await client.v1.invoices.finalize_invoice_async(invoice.id, {"auto_advance": False})
    assert invoice.status == "open"
    method = await client.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    invoice = await client.v1.invoices.pay_async(invoice.id, {"payment_method": method.id})
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("paid", 5000, 0)
    note = await client.v1.credit_notes.create_async({"invoice": invoice.id, "amount": 1000, "credit_amount": 1000})
    assert (note.status, note.post_payment_amount) == ("issued", 1000)
    assert (await client.v1.customers.retrieve_async(customer)).balance == -1000
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.invoices.void_invoice_async(invoice.id)


PAYEE: stripe.params.AccountCreateParams = {
    "country": "US",
    "controller": {
        "fees": {"payer": "application"},
        "losses": {"payments": "application"},
        "stripe_dashboard": {"type": "express"},
    },
    "capabilities": {"transfers": {"requested": True}},
}


async def test_a_payee_is_asked_who_it_is_before_it_is_paid(client: StripeClient) -> None:
    key = str(uuid4())
    account = await client.v1.accounts.create_async(PAYEE, {"idempotency_key": key})
    try:
        assert (await client.v1.accounts.create_async(PAYEE, {"idempotency_key": key})).id == account.id
        account = await client.v1.accounts.retrieve_async(account.id)
        assert account.capabilities is not None and account.requirements is not None
        assert (account.payouts_enabled, account.capabilities.transfers) == (False, "inactive")
        assert "external_account" in (account.requirements.currently_due or [])
        page = await client.v1.account_links.create_async(
            {"account": account.id, "type": "account_onboarding", "return_url": BACK, "refresh_url": BACK}
        )
        assert page.url.startswith("http")
        group = str(uuid4())
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.transfers.create_async(
                {"amount": 100, "currency": "usd", "destination": account.id, "transfer_group": group}
            )
        assert (await client.v1.transfers.list_async({"transfer_group": group})).data == []
    finally:
        await client.v1.accounts.delete_async(account.id)
    with pytest.raises(stripe.PermissionError) as caught:
        await client.v1.accounts.retrieve_async(account.id)
    assert "account_invalid" in str(caught.value.http_body)


async def test_the_balance_says_what_can_be_transferred_by_currency(client: StripeClient) -> None:
    balance = await client.v1.balance.retrieve_async()
    assert {"usd"} <= {one.currency for one in balance.available}
