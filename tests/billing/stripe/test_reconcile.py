"""A day of money: what differs between the ledger and Stripe is explained, or raised with the rows that make it."""

from datetime import date, timedelta

from billing.stripe.reconcile import Reconciliation, reconcile, reconcile_days
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, Office

NEW_YEAR = date(2026, 1, 1)
FEE = 4_900_000


async def report(office: Office, days: int = 0) -> Reconciliation:
    await office.desk.read_account()
    return await office.shop.does(reconcile, NEW_YEAR + timedelta(days=days))


async def pays(office: Office, **named: object) -> None:
    await office.pays(100_00, **named)  # pyright: ignore[reportArgumentType] as `pays` takes them
    await office.hears(await office.events())


async def test_a_day_that_agrees_has_nothing_to_say(office: Office) -> None:
    await pays(office)
    found = await report(office)
    (account,) = found.accounts
    assert (found.explained, found.raised) == ((), ())
    assert (account.currency, account.ledger_micro, account.stripe_micro, account.unexplained_micro) == (
        "CNY", 100 * YUAN - FEE, 100 * YUAN - FEE, 0,
    )  # fmt: skip
    assert (account.paid_in_micro, account.given_back_micro, account.fees_micro) == (100 * YUAN, 0, FEE)


async def test_a_fee_that_is_late_is_explained_and_after_two_days_asked_about(office: Office) -> None:
    await office.control.settings(balance_transaction="on_command")
    await pays(office)
    found = await report(office)
    (one,) = found.explained
    assert (one.reason, one.amount_micro, one.count, found.raised) == ("not_listed_yet", 100 * YUAN, 1, ())
    assert found.accounts[0].unexplained_micro == 0
    await office.advance(days=3)
    found = await report(office, 3)
    assert [one.reason for one in found.raised] == ["never_listed"] and found.explained == ()
    (charge,) = (await office.control.dump())["tables"]["charge"]
    await office.control.settle_charge(charge)
    assert (await report(office, 3)).raised == ()
    # On the first day it is in the ledger, and only on the fourth at Stripe.
    (one,) = (await report(office)).explained
    assert (one.reason, one.amount_micro) == ("booked_another_day", 100 * YUAN)


async def test_what_is_entered_by_hand_is_told_apart(office: Office) -> None:
    await pays(office)
    await office.shop.tops_up(ANN, 7 * YUAN)
    found = await report(office)
    assert [(one.reason, one.amount_micro) for one in found.explained] == [("entered_by_hand", 7 * YUAN)]
    assert found.raised == () and found.accounts[0].unexplained_micro == 0


async def test_money_at_stripe_that_nothing_here_knows_is_raised_with_its_row(office: Office) -> None:
    form = {
        "amount": 500_00,
        "currency": "cny",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "return_url": "https://example.com/",
    }
    assert await office.posts("payment_intents", **form) == 200
    found = await report(office)
    (one,) = found.raised
    assert (one.reason, one.amount_micro, one.rows[0].kind) == ("not_booked", -(500 * YUAN - 16_500_000), "charge")
    assert found.accounts[0].unexplained_micro == 0


async def test_what_is_paid_to_the_bank_leaves_the_account_and_comes_back_if_it_fails(office: Office) -> None:
    await pays(office)
    await office.advance(days=3)
    assert await office.posts("payouts", amount=50_00, currency="cny") == 200
    found = await report(office, 3)
    assert (found.accounts[0].to_bank_micro, found.accounts[0].ledger_micro) == (50 * YUAN, 50 * YUAN - FEE)
    assert (await office.books())["asset:bank"] == -50 * YUAN
    (payout,) = (await office.control.dump())["tables"]["payout"]
    await office.control.tell("payouts/settle", payout=payout, outcome="fail")
    found = await report(office, 3)
    assert [one.reason for one in found.raised] == ["payout_failed"] and (await office.books()).get("asset:bank", 0) == 0
    assert found.accounts[0].unexplained_micro == 0


async def test_an_exchange_that_went_back_for_more_leaves_a_residue(office: Office) -> None:
    await office.control.settings(settles={"cny": "usd"})
    started = await office.pays(100_00)
    await office.hears(await office.events())
    await office.control.settings(rates={"cny/usd": "0.1400", "usd/cny": "7.1"})
    await office.desk.refund(ANN, started.payment.id, source="r")
    found = await report(office)
    assert [(one.currency, one.into, one.given_micro, one.got_micro, one.residue_micro) for one in found.exchanges] == [
        ("CNY", "USD", 0, -110_000, -110_000)
    ]
    assert {account.currency: account.unexplained_micro for account in found.accounts} == {
        "CNY": 0,
        "USD": 0,
    } and found.raised == ()


async def test_a_dispute_waits_for_an_answer(office: Office) -> None:
    await pays(office)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    await office.control.dispute(charge)
    await office.hears(await office.events())
    assert [one.reason for one in (await report(office)).raised] == ["dispute_open"]


async def test_a_payment_whose_every_message_was_lost_is_found_on_stripes_account(office: Office) -> None:
    await office.pays(100_00)
    assert await office.balances() == {}
    found = await report(office)
    assert found.raised == () and await office.balances() == {"paid": 100 * YUAN}


async def test_a_cost_that_usage_does_not_know_is_raised(office: Office) -> None:
    await office.shop.tops_up(ANN, 100 * YUAN)
    await office.shop.makes(ANN, 1_000)
    assert (await report(office)).raised == ()
    await office.shop.conn.execute(
        "INSERT INTO billing.transfer (id, kind, subject_id, payload) VALUES (gen_random_uuid(), 'cost', gen_random_uuid(),"
        ' \'{"book": "live", "asset": "USD", "amounts": {"amount": 5}}\')'
    )
    found = await report(office)
    assert [(one.reason, one.amount_micro) for one in found.raised] == [("cost_differs", 5)]
    assert [(one.cost_currency, one.ledger_cost_micro, one.usage_cost_micro) for one in found.costs] == [("USD", 5, 0)]


async def test_a_day_is_reconciled_once_and_again_until_nothing_is_left_to_do(office: Office) -> None:
    async def clerk() -> list[int]:
        await office.desk.read_account()
        return [len(one.raised) for one in await office.shop.does(reconcile_days)]

    await pays(office)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    dispute = await office.control.dispute(charge)
    await office.hears(await office.events())
    await office.advance(days=1)
    assert await clerk() == [1] and await clerk() == [1]
    await office.control.close_dispute(dispute["id"], "won")
    await office.hears(await office.events())
    assert await clerk() == [] and await clerk() == []
    rows = await office.shop.conn.fetch("SELECT day, raised FROM billing.reconciliation")
    assert [tuple(row) for row in rows] == [(NEW_YEAR, 0)]


async def test_a_message_that_cannot_be_worked_on_is_raised_with_its_reason(office: Office) -> None:
    started = await office.pays(100_00)
    form = {
        "amount": 100_00,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "return_url": "https://example.com/",
    }
    assert await office.posts("payment_intents", **form, **{"metadata[tallylight_payment]": str(started.payment.id)}) == 200
    for event in await office.events():
        await office.keeps(event)
    for _ in range(6):
        await office.works()
        await office.clock.advance(minutes=30)
    assert await office.balances() == {"paid": 100 * YUAN}
    raised = {one.reason: one for one in (await report(office)).raised}
    assert raised["message_stuck"].count == 3 and "payment_conflict" in raised["message_stuck"].rows[0].about
    assert raised["not_booked"].currency == "USD"
