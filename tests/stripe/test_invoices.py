"""Invoices from items: collected, sent, tried again, credited."""

import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control

DAY_S = 24 * 3600


async def customer_with(client: StripeClient, token: str | None) -> str:
    customer = await client.v1.customers.create_async({"name": "Ada"})
    if token:
        method = await client.v1.payment_methods.attach_async(token, {"customer": customer.id})
        await client.v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    return customer.id


async def draft(client: StripeClient, customer: str, *amounts: int, advance: bool = False) -> str:
    for amount in amounts:
        await client.v1.invoice_items.create_async(
            {"customer": customer, "currency": "cny", "amount": amount, "description": "Video"}
        )
    invoice = await client.v1.invoices.create_async(
        {
            "customer": customer,
            "currency": "cny",
            "pending_invoice_items_behavior": "include",
            "auto_advance": advance,
        }
    )
    return invoice.id


async def happened(client: StripeClient, invoice: str) -> list[str]:
    """Types of this invoice's events, oldest first."""
    page = await client.v1.events.list_async({"limit": 100})
    return [event.type async for event in page.auto_paging_iter() if getattr(event.data.object, "id", None) == invoice][::-1]


async def test_items_become_lines_and_the_default_card_pays(stripe_client: StripeClient) -> None:
    customer = await customer_with(stripe_client, "pm_card_visa")
    drawn = await draft(stripe_client, customer, 3000, 4500, -500)
    invoice = await stripe_client.v1.invoices.finalize_invoice_async(drawn, {"expand": ["payments"]})
    assert (invoice.status, invoice.total, invoice.amount_due) == ("open", 7000, 7000)
    assert invoice.number is not None
    assert invoice.number.endswith("-0001")
    assert [line.amount for line in invoice.lines.data] == [3000, 4500, -500]
    invoice = await stripe_client.v1.invoices.pay_async(drawn)
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("paid", 7000, 0)
    payments = await stripe_client.v1.invoice_payments.list_async({"invoice": drawn})
    assert [(one.status, one.amount_paid) for one in payments.data] == [("paid", 7000)]
    assert await happened(stripe_client, drawn) == [
        "invoice.created",
        "invoice.finalized",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        await stripe_client.v1.invoices.pay_async(drawn)


async def test_a_declined_card_is_tried_again_on_a_calendar_until_stripe_stops(
    stripe_client: StripeClient, control: Control
) -> None:
    customer = await customer_with(stripe_client, "pm_card_chargeCustomerFail")
    drawn = await draft(stripe_client, customer, 5000, advance=True)
    await control.advance(3600)
    invoice = await stripe_client.v1.invoices.retrieve_async(drawn)
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.next_payment_attempt == await control.now() + 3 * DAY_S
    await control.advance(30 * DAY_S)
    invoice = await stripe_client.v1.invoices.retrieve_async(drawn)
    assert (invoice.status, invoice.attempt_count, invoice.next_payment_attempt) == ("open", 4, None)
    assert (await happened(stripe_client, drawn)).count("invoice.payment_failed") == 4


async def test_a_new_card_in_time_ends_the_retries(stripe_client: StripeClient, control: Control) -> None:
    customer = await customer_with(stripe_client, "pm_card_chargeCustomerFail")
    drawn = await draft(stripe_client, customer, 5000, advance=True)
    await control.advance(3600)
    method = await stripe_client.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    await stripe_client.v1.customers.update_async(customer, {"invoice_settings": {"default_payment_method": method.id}})
    await control.advance(3 * DAY_S)
    assert (await stripe_client.v1.invoices.retrieve_async(drawn)).status == "paid"


async def test_a_bank_that_asks_leaves_a_step_for_the_customer(stripe_client: StripeClient, control: Control) -> None:
    customer = await customer_with(stripe_client, "pm_card_authenticationRequired")
    drawn = await draft(stripe_client, customer, 5000)
    await stripe_client.v1.invoices.finalize_invoice_async(drawn)
    with pytest.raises(stripe.CardError) as caught:
        await stripe_client.v1.invoices.pay_async(drawn)
    assert caught.value.code == "invoice_payment_intent_requires_action"
    assert "invoice.payment_action_required" in await happened(stripe_client, drawn)
    assert caught.value.error is not None
    assert caught.value.error.payment_intent is not None
    await control.authenticate(caught.value.error.payment_intent["id"], ok=True)
    assert (await stripe_client.v1.invoices.retrieve_async(drawn)).status == "paid"


async def test_a_sent_invoice_falls_due(stripe_client: StripeClient, control: Control) -> None:
    customer = await customer_with(stripe_client, None)
    invoice = await stripe_client.v1.invoices.create_async(
        {"customer": customer, "collection_method": "send_invoice", "days_until_due": 14}
    )
    await stripe_client.v1.invoice_items.create_async({"customer": customer, "invoice": invoice.id, "amount": 5000})
    invoice = await stripe_client.v1.invoices.send_invoice_async(invoice.id)
    assert invoice.due_date == await control.now() + 14 * DAY_S
    await control.advance(14 * DAY_S)
    assert (await happened(stripe_client, invoice.id))[-1] == "invoice.overdue"
    invoice = await stripe_client.v1.invoices.pay_async(invoice.id, {"paid_out_of_band": True})
    assert (invoice.status, invoice.amount_paid_off_stripe) == ("paid", 5000)


async def test_an_invoice_is_voided_written_off_or_deleted(stripe_client: StripeClient) -> None:
    customer = await customer_with(stripe_client, None)
    first, second = [await draft(stripe_client, customer, 5000) for _ in range(2)]
    await stripe_client.v1.invoices.finalize_invoice_async(first)
    assert (await stripe_client.v1.invoices.mark_uncollectible_async(first)).status == "uncollectible"
    assert (await stripe_client.v1.invoices.void_invoice_async(first)).status == "void"
    assert (await stripe_client.v1.invoices.delete_async(second)).deleted
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_client.v1.invoices.delete_async(first)
    assert len((await stripe_client.v1.invoice_items.list_async({"pending": True})).data) == 1


async def test_a_credit_note_lessens_what_is_due_and_may_settle_it(stripe_client: StripeClient) -> None:
    drawn = await draft(stripe_client, await customer_with(stripe_client, None), 5000)
    await stripe_client.v1.invoices.finalize_invoice_async(drawn)
    note = await stripe_client.v1.credit_notes.create_async({"invoice": drawn, "amount": 2000})
    assert (note.type, note.pre_payment_amount) == ("pre_payment", 2000)
    assert (await stripe_client.v1.invoices.retrieve_async(drawn)).amount_remaining == 3000
    with pytest.raises(stripe.InvalidRequestError, match="exceeds"):
        await stripe_client.v1.credit_notes.create_async({"invoice": drawn, "amount": 3001})
    await stripe_client.v1.credit_notes.create_async({"invoice": drawn, "amount": 3000})
    assert (await stripe_client.v1.invoices.retrieve_async(drawn)).status == "paid"


async def test_a_credit_note_after_payment_says_where_the_money_goes(stripe_client: StripeClient) -> None:
    customer = await customer_with(stripe_client, "pm_card_visa")
    drawn = await draft(stripe_client, customer, 5000)
    await stripe_client.v1.invoices.pay_async(drawn)
    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        await stripe_client.v1.credit_notes.create_async({"invoice": drawn, "amount": 1000, "refund_amount": 900})
    note = await stripe_client.v1.credit_notes.create_async(
        {
            "invoice": drawn,
            "lines": [{"type": "custom_line_item", "description": "Late", "unit_amount": 1000, "quantity": 1}],
            "refund_amount": 600,
            "credit_amount": 400,
        }
    )
    assert (note.type, [refund.amount_refunded for refund in note.refunds]) == ("post_payment", [600])
    assert (await stripe_client.v1.customers.retrieve_async(customer)).balance == -400
    later = await stripe_client.v1.invoices.finalize_invoice_async(await draft(stripe_client, customer, 1000))
    assert (later.amount_due, later.starting_balance, later.ending_balance) == (600, -400, 0)
