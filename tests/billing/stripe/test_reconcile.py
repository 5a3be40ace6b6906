"""A day of money: what differs between the ledger and Stripe is explained, or raised with the rows that make it."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from billing.ledger.post import Posting, post_all
from billing.stripe.clearing import ACCOUNTS, PAIRS, last_marks, mark
from billing.stripe.reconcile import Reconciliation, reconcile, reconcile_days
from tests.billing.conftest import DAWN
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, RETURN, Office

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
    where = {"pool": "h100", "model": "testcard", "outcome": "failed"}
    lost = Posting(
        kind="cost", source="x", subject_id=UUID(int=9), book="live", asset="USD", amounts={"amount": 5}, dimensions=where
    )  # fmt: skip
    await office.shop.does(post_all, [lost])
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


# -- marks -------------------------------------------------------------------------------------------------------------
def told(found: Reconciliation) -> object:
    """Everything it says, but for the rows of what was entered by hand: of those before a mark only the sum is kept."""
    differences = [*found.explained, *found.raised]
    said = [
        (one.reason, one.currency, one.amount_micro, one.count, one.reason == "entered_by_hand" or one.rows)
        for one in differences
    ]
    return found.accounts, found.exchanges, found.costs, sorted(said, key=str)


async def a_week(office: Office) -> None:
    """Payments each day, one listed five days late, some by hand, a dispute, a refund, another currency, and one that is not ours."""
    await office.control.settings(balance_transaction="on_command")
    await pays(office, source="late")
    await office.control.settings(balance_transaction="at_once", settles={"cny": "usd"})
    for day in range(8):
        await pays(office, source=f"day {day}")
        if day % 3 == 0:
            await office.shop.tops_up(ANN, (day + 1) * YUAN)
        charges = [one["id"] for one in (await office.control.dump())["tables"]["charge"].values()]
        if day == 2:
            await office.posts(
                "payment_intents", amount=500_00, currency="cny", payment_method="pm_card_visa", confirm="true", return_url=RETURN
            )
            await office.control.settings(settles={})
        if day == 3:
            await office.control.dispute(charges[-1])
        if day == 4:
            await office.posts("refunds", charge=charges[-1], amount=30_00)
        if day == 5:
            await office.control.settle_charge(charges[0])
        await office.hears(await office.events())
        await office.advance(days=1)


async def test_what_is_read_on_from_a_mark_is_what_the_whole_history_says(office: Office) -> None:
    await a_week(office)
    days = [NEW_YEAR + timedelta(days=day) for day in range(8)]
    conn = office.shop.conn
    for listed in (False, True):
        if listed:  # what was listed days late, and what nothing had told of, after the marks were made
            await office.desk.read_account(DAWN)
        async with conn.transaction():
            marks = await conn.fetch("DELETE FROM billing.clearing_mark RETURNING *")
            whole = [told(await reconcile(conn, day)) for day in days]
            await conn.executemany(
                "INSERT INTO billing.clearing_mark SELECT ($1::billing.clearing_mark).*", [(tuple(row),) for row in marks]
            )
        for nth in range(len(days)):
            assert [told(await reconcile(conn, day)) for day in days] == whole, f"marked up to {days[nth]}"
            if not listed:
                await office.shop.does(mark, days[nth])


async def test_a_day_is_read_and_not_the_whole_of_history(office: Office) -> None:
    conn = office.shop.conn
    await pays(office)
    await conn.execute("""
        WITH old AS (
            INSERT INTO billing.transfer (id, kind, subject_id, payload, created_at)
            SELECT gen_random_uuid(), 'top_up', gen_random_uuid(), '{}', billing.now() - interval '1 year' FROM generate_series(1, 4000)
            RETURNING id, created_at
        )
        INSERT INTO billing.entry (transfer_id, leg, account_id, asset, amount, booked_at)
        SELECT old.id, leg, a.id, 'CNY', 1 - 2 * leg, old.created_at FROM old, generate_series(0, 1) leg, billing.account a
        WHERE a.path = 'asset:clearing:live:CNY'
    """)
    await conn.execute("""
        INSERT INTO billing.stripe_transaction (id, type, currency, amount_minor, fee_minor, created_at, stored_at, booked_at)
        SELECT 'old_' || n, 'charge', 'CNY', 1, 0, at, at, at
        FROM generate_series(1, 4000) n, LATERAL (SELECT billing.now() - interval '1 year' AS at) now
    """)
    await office.shop.does(mark, NEW_YEAR)
    await conn.execute("ANALYZE billing.entry, billing.transfer, billing.stripe_transaction, billing.account")
    since = datetime(2026, 1, 1, tzinfo=UTC)
    until, marks = since + timedelta(days=1), await last_marks(conn, since)
    assert marks[0].stripe_micro == 4000 * 10_000 and len(marks[0].open_transactions) == 4000
    now, open_then = datetime(9000, 1, 1, tzinfo=UTC), ([], [])
    for query, arguments in ((PAIRS, (until, since, now, *open_then, now)), (ACCOUNTS, (since, until, since, now, now))):
        plan = json.loads(await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.sql}", *arguments))[0]["Plan"]
        assert sum(rows_read(plan)) < 100, query.sql


def rows_read(node: dict[str, Any]) -> Iterator[int]:
    """How many rows each scan of a table has looked at."""
    if node.get("Relation Name") in ("entry", "transfer", "stripe_transaction"):
        skipped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield (node["Actual Rows"] + skipped) * node["Actual Loops"]
    for inner in node.get("Plans", ()):
        yield from rows_read(inner)
