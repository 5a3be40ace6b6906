"""Posting: an event is written once, as a whole, within what the accounts allow; its correction is its opposite."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest

from billing.errors import BillingError, InsufficientFunds, NotReversible, TransferConflict, UnknownAsset
from billing.kit.ids import derived_id, new_id
from billing.kit.query import Conn, Pool
from billing.ledger.grants import Issue, expire, issue
from billing.ledger.model import RefundRequest, paid_account_id, platform_account_id
from billing.ledger.post import Posted, Posting, post
from billing.ledger.refund import refund
from billing.ledger.reverse import reverse
from billing.ledger.trial import TrialLine, trial_balance
from billing.ledger.verify import OVERSPENT
from billing.ledger.wallets import set_credit_limit
from tests.billing.ledger.book import Ledger, codes, until_blocked

COST: Mapping[str, str] = {"pool": "h100", "model": "testcard", "outcome": "failed"}


def cash(ledger: Ledger, amount: int, source: str = "c") -> Posting:
    return Posting(
        kind="cash_refund", source=source, subject_id=ledger.customer, book="live", asset="CNY", amounts={"amount": amount},
        accounts={"wallet": paid_account_id(ledger.wallet)},
    )  # fmt: skip


def cost(amount: int, source: str) -> Posting:
    return Posting(
        kind="cost", source=source, subject_id=UUID(int=1), book="live", asset="USD", amounts={"amount": amount}, dimensions=COST
    )


async def posted(conn: Conn, *postings: Posting) -> list[str]:
    async with conn.transaction():
        return codes(await post(conn, postings))


async def undone(conn: Conn, transfer_id: UUID, reason: str = "wrong") -> UUID:
    async with conn.transaction():
        return await reverse(conn, transfer_id, reason)


async def test_what_is_taken_is_taken_below_the_floor_and_the_floor_stays(ledger: Ledger) -> None:
    taken = [
        msgspec.structs.replace(cash(ledger, amount, str(nth)), kind="cash_taken") for nth, amount in enumerate((60, 70, 80))
    ]
    assert await posted(ledger.conn, taken[0], taken[1], cash(ledger, 1)) == ["ok", "ok", "insufficient_funds"]
    assert await posted(ledger.conn, taken[2], taken[2], taken[1]) == ["ok", "ok", "ok"]
    assert await ledger.balance() == (-110, 0)
    assert (
        await ledger.conn.fetchval("SELECT floor FROM billing.balance WHERE account_id = $1", paid_account_id(ledger.wallet)) == 0
    )
    assert codes(await ledger.hold((new_id(), 1))) == ["insufficient_funds"]
    # Only what was taken excuses it.
    assert await ledger.findings() == []
    damage = ledger.conn.transaction()
    await damage.start()
    await ledger.conn.execute("ALTER TABLE billing.balance DISABLE TRIGGER balance_not_overspent")
    await ledger.conn.execute("UPDATE billing.balance SET posted = posted - 101")
    assert [finding.rule for finding in await OVERSPENT.all(ledger.conn)] == ["nothing_is_overspent"]
    await damage.rollback()


async def test_a_batch_is_decided_in_order_and_a_refusal_bars_nobody(ledger: Ledger) -> None:
    asked = [cash(ledger, amount, str(nth)) for nth, amount in enumerate((60, 50, 30, 10, 1))]
    assert await posted(ledger.conn, *asked) == ["ok", "insufficient_funds", "ok", "ok", "insufficient_funds"]
    assert await ledger.balance() == (0, 0)
    assert await posted(ledger.conn, *asked) == ["ok", "insufficient_funds", "ok", "ok", "insufficient_funds"]


async def test_what_is_held_is_not_paid_out(ledger: Ledger) -> None:
    await ledger.held(60)
    assert await posted(ledger.conn, cash(ledger, 41)) == ["insufficient_funds"]
    assert await posted(ledger.conn, cash(ledger, 40)) == ["ok"]


async def test_an_event_is_written_once(ledger: Ledger) -> None:
    one = cash(ledger, 10)
    assert await posted(ledger.conn, one, one, cash(ledger, 11)) == ["ok", "ok", "transfer_conflict"]
    assert await posted(ledger.conn, one) == ["ok"]
    async with ledger.conn.transaction():
        assert await post(ledger.conn, [cash(ledger, 0, "new"), cash(ledger, 0, "new"), one]) == [
            Posted(derived_id("cash_refund", source)) for source in ("new", "new", "c")
        ]
    for other in (
        cash(ledger, 11),
        replaced(one, subject_id=new_id()),
        replaced(one, facts={"x": 1}),
        replaced(one, book="test"),
    ):
        assert await posted(ledger.conn, other) == ["transfer_conflict"]
    assert await ledger.balance() == (90, 0)


def replaced(one: Posting, **changes: object) -> Posting:
    return msgspec.structs.replace(one, **changes)


async def test_an_unknown_account_is_refused_alone(ledger: Ledger) -> None:
    stranger = replaced(cash(ledger, 1), accounts={"wallet": new_id()})
    assert await posted(ledger.conn, stranger, cash(ledger, 1, "d")) == ["unknown_account", "ok"]
    nobody = Posting(
        kind="credit_limit", source="x", subject_id=ledger.customer, book="live", asset="CNY", amounts={"change": 1},
        accounts={"credit": new_id()},
    )  # fmt: skip
    assert await posted(ledger.conn, nobody) == ["unknown_account"]


@pytest.mark.parametrize(
    "changes,said",
    [
        ({"kind": "gift"}, "no rule is called 'gift'"),
        ({"amounts": {"amount": -1}}, "amount must not be below zero"),
        ({"amounts": {"amount": 1.0}}, "amount must be a whole number, not 1.0"),
        ({"amounts": {"amount": True}}, "amount must be a whole number, not True"),
        ({"amounts": {}}, "it has the amounts amount"),
        ({"amounts": {"amount": 1, "tax": 0}}, "it has the amounts amount"),
        ({"accounts": {}}, "it does not say which wallet"),
        ({"kind": "cost", "accounts": {}}, "it does not say which pool"),
        (
            {"kind": "credit_note", "amounts": {"net": 5, "tax": 1, "total": 5}, "dimensions": {"customer": "c"}},
            "the amounts in CNY do not add up",
        ),
    ],
)
async def test_an_event_that_makes_no_sense_is_named(ledger: Ledger, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await posted(ledger.conn, cash(ledger, 1, "fine"), replaced(cash(ledger, 1), **changes))
    assert await ledger.balance() == (100, 0)


async def test_an_unknown_currency_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownAsset, match="EUR"):
        await posted(ledger.conn, cost(1, "fine"), replaced(cost(1, "a"), asset="EUR"))
    assert await ledger.conn.fetchval("SELECT count(*) FROM billing.transfer WHERE kind = 'cost'") == 0


@pytest.mark.parametrize("before", [0, 1])
async def test_the_same_cost_from_two_processes_is_booked_once(ledger: Ledger, pool: Pool, before: int) -> None:
    """They share no lock: the second waits for the first's account, or where that is there for its transfer, and reads it then."""
    assert await posted(ledger.conn, *[cost(100, "before")] * before) == ["ok"] * before

    async def rival(*postings: Posting) -> list[str]:
        async with pool.acquire() as conn:
            return await posted(conn, *postings)

    async with pool.acquire() as watcher, ledger.conn.transaction():
        assert codes(await post(ledger.conn, [cost(5, "a"), cost(7, "b")])) == ["ok", "ok"]
        second = asyncio.create_task(rival(cost(5, "a"), cost(8, "b"), cost(9, "c")))
        await until_blocked(watcher)
    assert await second == ["ok", "transfer_conflict", "ok"]
    account = platform_account_id("liability:gpu_accrued", "live", "USD", "h100")
    assert (
        await ledger.conn.fetchval("SELECT sum(amount)::bigint FROM billing.entry WHERE account_id = $1", account)
        == 21 + 100 * before
    )


async def test_a_reversal_is_the_opposite_once(ledger: Ledger) -> None:
    transfer = await ledger.top_up(30)
    assert await undone(ledger.conn, transfer) == await undone(ledger.conn, transfer)
    assert await ledger.balance() == (100, 0)
    with pytest.raises(TransferConflict):
        await undone(ledger.conn, transfer, "another reason")


async def test_every_reversal_is_its_own_and_keeps_its_reason(ledger: Ledger) -> None:
    one, other = await ledger.top_up(30), await ledger.top_up(40)
    undoing = [await undone(ledger.conn, one, "typo"), await undone(ledger.conn, other, "twice")]
    assert undoing == [derived_id("reversal", one), derived_id("reversal", other)]
    assert await ledger.balance() == (100, 0)
    rows = await ledger.conn.fetch("SELECT id, payload FROM billing.transfer WHERE kind = 'reversal' ORDER BY created_at")
    kept = [(row["id"], msgspec.json.decode(row["payload"])) for row in rows]
    assert kept == [
        (undoing[0], {"of": str(one), "kind": "top_up", "reason": "typo"}),
        (undoing[1], {"of": str(other), "kind": "top_up", "reason": "twice"}),
    ]


async def test_a_reversed_payment_counts_against_the_limit_again(ledger: Ledger) -> None:
    async with ledger.conn.transaction():
        credit = await set_credit_limit(
            ledger.conn, source="s", customer_id=ledger.customer, book="live", asset="CNY", limit_micro=50
        )
    await ledger.capture((await ledger.held(140), 140))
    to = {"accounts": {"credit": credit}, "dimensions": {"customer": str(ledger.customer)}}
    invoice = replaced(
        cash(ledger, 0), kind="close", amounts={"total": 40, "usage": 40, "shortfall": 0, "tax": 0, "rounding": 0}, **to
    )
    payment = replaced(cash(ledger, 0), kind="payment", amounts={"amount": 40}, **to)
    assert await posted(ledger.conn, invoice, payment) == ["ok", "ok"]
    await undone(ledger.conn, payment.id)
    assert codes(await ledger.hold((new_id(), 11), (new_id(), 10))) == ["insufficient_funds", "ok"]


async def test_a_reversed_loss_of_a_payment_counts_against_the_limit_no_more(ledger: Ledger) -> None:
    async with ledger.conn.transaction():
        credit = await set_credit_limit(
            ledger.conn, source="s", customer_id=ledger.customer, book="live", asset="CNY", limit_micro=50
        )
    taken = replaced(
        cash(ledger, 0), kind="payment_taken", amounts={"amount": 20}, accounts={"credit": credit},
        dimensions={"customer": str(ledger.customer)},
    )  # fmt: skip
    assert await posted(ledger.conn, taken) == ["ok"]
    assert codes(await ledger.hold((new_id(), 131))) == ["insufficient_funds"]
    await undone(ledger.conn, taken.id)
    assert codes(await ledger.hold((new_id(), 151), (new_id(), 150))) == ["insufficient_funds", "ok"]


async def test_what_was_spent_is_not_reversed(ledger: Ledger) -> None:
    transfer = await ledger.top_up(30)
    hold_id = await ledger.held(101)
    with pytest.raises(InsufficientFunds):
        await undone(ledger.conn, transfer)
    await ledger.release(hold_id)
    await undone(ledger.conn, transfer)


@pytest.mark.parametrize("kind,amounts", [
    ("close", {"total": 43, "usage": 40, "shortfall": 0, "tax": 3, "rounding": 0}),
    ("credit_note", {"net": 5, "tax": 1, "total": 6}),
    ("sla_note", {"net": 5, "tax": 1, "total": 6}),
])  # fmt: skip
async def test_what_a_document_states_is_not_reversed(ledger: Ledger, kind: str, amounts: dict[str, int]) -> None:
    async with ledger.conn.transaction():
        credit = await set_credit_limit(
            ledger.conn, source="s", customer_id=ledger.customer, book="live", asset="CNY", limit_micro=50
        )
    await ledger.capture((await ledger.held(140), 140))
    stated = Posting(
        kind=kind, source="nov", subject_id=ledger.customer, book="live", asset="CNY", accounts={"credit": credit},
        amounts=amounts, dimensions={"customer": str(ledger.customer)},
    )  # fmt: skip
    assert await posted(ledger.conn, stated) == ["ok"]
    before = await ledger.balance()
    with pytest.raises(NotReversible, match=kind):
        await undone(ledger.conn, stated.id)
    assert await ledger.balance() == before


async def test_what_has_another_correction_is_not_reversed(ledger: Ledger) -> None:
    hold_id = await ledger.held(10)
    ((captured),) = await ledger.capture((hold_id, 10))
    assert not isinstance(captured, BillingError)
    async with ledger.conn.transaction():
        (given,) = await refund(ledger.conn, [RefundRequest(hold_id, 0, 5, "r")])
    assert not isinstance(given, BillingError)
    reversal = await undone(ledger.conn, await ledger.top_up(1))
    async with ledger.conn.transaction():
        await set_credit_limit(ledger.conn, source="s", customer_id=ledger.customer, book="live", asset="CNY", limit_micro=50)
    limit = await ledger.conn.fetchval("SELECT id FROM billing.transfer WHERE kind = 'credit_limit'")
    for transfer in (captured.transfer_id, given.transfer_id, reversal, limit, new_id()):
        with pytest.raises(NotReversible):
            await undone(ledger.conn, transfer)


async def test_what_has_expired_is_not_put_back_where_nobody_can_draw_on_it(ledger: Ledger) -> None:
    """It would stay there for ever: expiring it again is a replay of the first time."""
    async with ledger.conn.transaction():
        past = await ledger.conn.fetchval("SELECT billing.now() - interval '1 hour'")
        await issue(
            ledger.conn,
            [Issue(kind="promo", source="p", customer_id=ledger.customer, asset="CNY", amount=5, expires_at=past)],
        )
        await expire(ledger.conn)
    transfer = await ledger.conn.fetchval("SELECT id FROM billing.transfer WHERE kind = 'expire_promo'")
    with pytest.raises(NotReversible):
        await undone(ledger.conn, transfer)


async def test_the_trial_balance_sums_to_zero_and_knows_yesterday(ledger: Ledger) -> None:
    before = await ledger.conn.fetchval("SELECT billing.now()")
    await ledger.capture((await ledger.held(60), 25))
    await posted(ledger.conn, cost(5, "a"))
    lines = await trial_balance(ledger.conn)
    assert lines == [
        TrialLine("live", "CNY", "asset:clearing", -100, 0, -100),
        TrialLine("live", "CNY", "revenue:usage", 0, 25, 25),
        TrialLine("live", "CNY", "wallet:paid", -25, 100, 75),
        TrialLine("live", "USD", "expense:cogs", -5, 0, -5),
        TrialLine("live", "USD", "liability:gpu_accrued", 0, 5, 5),
    ]
    assert [(line.name, line.balance) for line in await trial_balance(ledger.conn, before)] == [
        ("asset:clearing", -100),
        ("wallet:paid", 100),
    ]


async def test_posted_is_what_it_says(ledger: Ledger) -> None:
    async with ledger.conn.transaction():
        assert await post(ledger.conn, [one := cash(ledger, 1)]) == [Posted(one.id)]
        assert await post(ledger.conn, []) == []
