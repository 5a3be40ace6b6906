"""The account's money: exchange, late movements, payouts, transfers. Whatever happens, the movements add up to the balance."""

import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control

DAY_S = 24 * 3600


async def pay(client: StripeClient, amount: int, currency: str, token: str = "pm_card_visa") -> str:
    """The id of a successful charge."""
    intent = await client.v1.payment_intents.create_async(
        {
            "amount": amount,
            "currency": currency,
            "payment_method": token,
            "allowed_payment_method_types": ["card"],
            "confirm": True,
        }
    )
    assert isinstance(intent.latest_charge, str)
    return intent.latest_charge


async def movement(client: StripeClient, charge: str) -> stripe.BalanceTransaction | None:
    found = (await client.v1.charges.retrieve_async(charge, {"expand": ["balance_transaction"]})).balance_transaction
    assert not isinstance(found, str)
    return found


@pytest.mark.parametrize(
    "amount, currency, fee",
    [(10000, "usd", 320), (10050, "usd", 321), (50, "usd", 31), (10000, "cny", 490), (33333, "cny", 1167)],
)
async def test_a_fee_is_a_share_and_a_fixed_part(stripe_client: StripeClient, amount: int, currency: str, fee: int) -> None:
    found = await movement(stripe_client, await pay(stripe_client, amount, currency))
    assert found is not None
    assert (found.amount, found.fee, found.net, found.exchange_rate) == (amount, fee, amount - fee, None)
    assert [(detail.amount, detail.type) for detail in found.fee_details] == [(fee, "stripe_fee")]


async def test_a_refund_at_another_rate_leaves_a_residue(stripe_client: StripeClient, control: Control) -> None:
    await control.settings(settles={"cny": "usd"})
    charge = await pay(stripe_client, 10000, "cny")
    found = await movement(stripe_client, charge)
    assert found is not None
    assert (found.amount, found.currency, found.fee, found.exchange_rate) == (1389, "usd", 70, 0.1389)
    await control.settings(rates={"cny/usd": "0.14"})
    await stripe_client.v1.refunds.create_async({"charge": charge})
    page = await stripe_client.v1.balance_transactions.list_async()
    assert [one.amount for one in page.data] == [-1400, 1389]


async def test_a_movement_may_be_null_at_first_and_come_late(stripe_client: StripeClient, control: Control) -> None:
    await control.settings(balance_transaction="late")
    charge = await pay(stripe_client, 10000, "usd")
    assert await movement(stripe_client, charge) is None
    await control.advance(30)
    assert await movement(stripe_client, charge) is not None
    (event,) = (await stripe_client.v1.events.list_async({"type": "charge.updated"})).data
    assert event.data.previous_attributes is not None
    assert event.data.previous_attributes.to_dict() == {"balance_transaction": None}
    await control.settings(balance_transaction="on_command")
    charge = await pay(stripe_client, 10000, "usd")
    await control.advance(30 * DAY_S)
    assert await movement(stripe_client, charge) is None
    await control.settle_charge(charge)
    assert await movement(stripe_client, charge) is not None


async def test_a_daily_payout_names_the_movements_it_pays_out(stripe_client: StripeClient, control: Control) -> None:
    await control.settings(payouts="daily")
    for amount in (10000, 20000):
        await pay(stripe_client, amount, "usd")
    await control.advance(3 * DAY_S)
    (payout,) = (await stripe_client.v1.payouts.list_async()).data
    assert (payout.amount, payout.automatic, payout.reconciliation_status) == (30000 - 320 - 610, True, "in_progress")
    parts = await stripe_client.v1.balance_transactions.list_async({"payout": payout.id})
    assert sorted(part.net for part in parts.data) == [-29070, 9680, 19390]
    await control.advance(2 * DAY_S)
    assert (await stripe_client.v1.payouts.retrieve_async(payout.id)).status == "paid"
    await control.settle_payout(payout.id, "account_closed")
    payout = await stripe_client.v1.payouts.retrieve_async(payout.id)
    assert (payout.status, payout.failure_code) == ("failed", "account_closed")
    balance = await stripe_client.v1.balance.retrieve_async()
    assert [part.amount for part in balance.available] == [29070]


async def test_a_transfer_needs_a_payee_who_may_be_paid_and_a_balance(stripe_client: StripeClient, control: Control) -> None:
    account = await stripe_client.v1.accounts.create_async(
        {"type": "express", "capabilities": {"transfers": {"requested": True}}}
    )
    wanted: stripe.params.TransferCreateParams = {"amount": 5000, "currency": "usd", "destination": account.id}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await stripe_client.v1.transfers.create_async(wanted)
    assert caught.value.code == "insufficient_capabilities_for_transfer"
    await control.require(account.id)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await stripe_client.v1.transfers.create_async(wanted)
    assert caught.value.code == "balance_insufficient"
    await pay(stripe_client, 10000, "usd", "pm_card_bypassPending")
    transfer = await stripe_client.v1.transfers.create_async(wanted)
    await stripe_client.v1.transfers.reversals.create_async(transfer.id, {"amount": 2000})
    transfer = await stripe_client.v1.transfers.retrieve_async(transfer.id)
    assert (transfer.amount_reversed, transfer.reversed) == (2000, False)
    own = await stripe_client.v1.balance.retrieve_async(None, {"stripe_account": account.id})
    assert [part.amount for part in own.available] == [3000]
    payout = await stripe_client.v1.payouts.create_async({"amount": 3000, "currency": "usd"}, {"stripe_account": account.id})
    assert (await control.settle_payout(payout.id, "account_closed"))["status"] == "failed"
    (event,) = (await stripe_client.v1.events.list_async({"type": "payout.failed"}, {"stripe_account": account.id})).data
    assert event.account == account.id
    await stripe_client.v1.transfers.reversals.create_async(transfer.id)
    await control.require(account.id, ["individual.id_number"])
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_client.v1.transfers.create_async(wanted)


async def test_a_key_has_no_access_to_other_accounts(stripe_client: StripeClient) -> None:
    with pytest.raises(stripe.PermissionError):
        await stripe_client.v1.balance.retrieve_async(None, {"stripe_account": "acct_none"})


async def test_a_dispute_opened_and_lost_by_command(stripe_client: StripeClient, control: Control) -> None:
    charge = await pay(stripe_client, 10000, "usd")
    dispute = await control.dispute(charge, reason="product_not_received", amount=4000)
    await control.close_dispute(dispute["id"], "lost")
    types = [event.type for event in (await stripe_client.v1.events.list_async({"limit": 3})).data]
    assert types == ["charge.dispute.closed", "charge.dispute.funds_withdrawn", "charge.dispute.created"]
    page = await stripe_client.v1.balance_transactions.list_async({"type": "adjustment"})
    assert [one.net for one in page.data] == [-5500]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await stripe_client.v1.refunds.create_async({"charge": charge})
    assert caught.value.code == "charge_disputed"


async def test_lists_of_movements_are_filtered(stripe_client: StripeClient, control: Control) -> None:
    first = await pay(stripe_client, 10000, "usd")
    await control.advance(DAY_S)
    await stripe_client.v1.refunds.create_async({"charge": first, "amount": 100})
    now = await control.now()
    movements = stripe_client.v1.balance_transactions
    assert [one.type for one in (await movements.list_async({"created": {"gte": now}})).data] == ["refund"]
    assert [one.type for one in (await movements.list_async({"created": {"lt": now}})).data] == ["charge"]
    assert [one.type for one in (await movements.list_async({"source": first})).data] == ["charge"]
    assert [one.type for one in (await movements.list_async({"type": "payout"})).data] == []
