"""Capture and release: a hold ends once, for at most what it held, and every way of asking again is answered the same."""

import msgspec
import pytest

from billing.kit.ids import new_id
from billing.ledger import sql
from billing.ledger.capture import capture
from billing.ledger.model import Captured, CaptureRequest, Released, capture_transfer_id
from billing.ledger.wallets import lines_of
from tests.bench.history import write_history
from tests.billing.ledger.book import Ledger, codes


@pytest.mark.parametrize("amount_micro", [0, 1, 59, 60])
async def test_charges_the_amount_and_frees_the_rest(ledger: Ledger, amount_micro: int) -> None:
    hold_id = await ledger.held(60)
    assert await ledger.capture((hold_id, amount_micro)) == [Captured(hold_id, amount_micro, capture_transfer_id(hold_id))]
    assert await ledger.balance() == (100 - amount_micro, 0)
    assert await ledger.revenue() == amount_micro
    lines = await lines_of(ledger.conn, hold_id)
    assert [(line.kind, line.amount) for line in lines] == (
        [("capture", -amount_micro), ("capture", amount_micro)] if amount_micro else []
    )
    assert [draw[1:] for draw in await ledger.draws(hold_id)] == [(60, amount_micro, "captured")]


async def test_a_hold_of_nothing_ends_both_ways(ledger: Ledger) -> None:
    assert codes(await ledger.capture((await ledger.held(0), 0))) == ["ok"]
    assert codes(await ledger.release(await ledger.held(0))) == ["ok"]
    assert await ledger.balance() == (100, 0)


@pytest.mark.parametrize("amount_micro", [-1, 61, 10**18])
async def test_never_charges_more_than_was_held_nor_less_than_nothing(ledger: Ledger, amount_micro: int) -> None:
    hold_id = await ledger.held(60)
    assert codes(await ledger.capture((hold_id, amount_micro))) == ["capture_exceeds_hold"]
    assert await ledger.balance() == (100, 60)
    assert codes(await ledger.capture((hold_id, 60))) == ["ok"]


async def test_capturing_again_charges_nothing_more(ledger: Ledger) -> None:
    hold_id = await ledger.held(60)
    first = await ledger.capture((hold_id, 25))
    assert await ledger.capture((hold_id, 25)) == first
    assert await ledger.capture((hold_id, 25), (hold_id, 25)) == first * 2
    assert (await ledger.balance(), await ledger.revenue()) == ((75, 0), 25)


async def test_each_of_several_is_compared_with_what_it_was_captured_with(ledger: Ledger) -> None:
    requests = [CaptureRequest(await ledger.held(10), 0, 5, payload={"frames": nth}) for nth in range(3)]

    async def captures(*asked: CaptureRequest) -> list[str]:
        async with ledger.conn.transaction():
            return codes(await capture(ledger.conn, asked))

    assert await captures(*requests) == ["ok"] * 3
    other = msgspec.structs.replace(requests[1], payload={"frames": 7})
    assert await captures(requests[0], other, requests[2]) == ["ok", "transfer_conflict", "ok"]
    assert await captures(other, requests[1]) == ["transfer_conflict", "ok"]
    assert (await ledger.balance(), await ledger.revenue()) == ((85, 0), 15)


@pytest.mark.parametrize("amount_micro", [0, 24, 26, 61])
async def test_capturing_again_for_another_amount_conflicts(ledger: Ledger, amount_micro: int) -> None:
    hold_id = await ledger.held(60)
    await ledger.capture((hold_id, 25))
    assert codes(await ledger.capture((hold_id, amount_micro))) == ["transfer_conflict"]
    assert (await ledger.balance(), await ledger.revenue()) == ((75, 0), 25)


async def test_releasing_frees_all_of_it_again_and_again(ledger: Ledger) -> None:
    hold_id = await ledger.held(60)
    for _ in range(2):
        assert await ledger.release(hold_id) == [Released(hold_id)]
        assert await ledger.balance() == (100, 0)
    assert await ledger.release(hold_id, hold_id) == [Released(hold_id)] * 2
    assert await lines_of(ledger.conn, hold_id) == []


async def test_an_end_does_not_turn_into_the_other(ledger: Ledger) -> None:
    captured, released, unknown = await ledger.held(10), await ledger.held(10), new_id()
    await ledger.capture((captured, 5))
    await ledger.release(released)
    assert codes(await ledger.release(captured, released, unknown)) == ["hold_not_open", "ok", "hold_not_open"]
    assert codes(await ledger.capture((captured, 5), (released, 5), (released, 0), (unknown, 0))) == [
        "ok", "hold_not_open", "hold_not_open", "hold_not_open",
    ]  # fmt: skip
    assert (await ledger.balance(), await ledger.revenue()) == ((95, 0), 5)


async def test_a_batch_has_one_outcome_each_in_order(ledger: Ledger) -> None:
    one, two, three = await ledger.held(10), await ledger.held(20), await ledger.held(30)
    outcomes = await ledger.capture((three, 31), (one, 10), (new_id(), 1), (two, 7), (one, 10), (one, 9), (three, 30))
    assert codes(outcomes) == [
        "capture_exceeds_hold", "ok", "hold_not_open", "ok", "ok", "transfer_conflict", "ok",
    ]  # fmt: skip
    assert (await ledger.balance(), await ledger.revenue()) == ((53, 0), 47)


async def test_a_refused_batch_writes_nothing(ledger: Ledger) -> None:
    await ledger.held(10)
    assert codes(await ledger.capture((new_id(), 1))) == ["hold_not_open"]
    assert codes(await ledger.release(new_id())) == ["hold_not_open"]
    assert await ledger.capture() == await ledger.release() == await ledger.hold() == []
    assert await ledger.balance() == (100, 10)


@pytest.mark.parametrize("amount_micro", [0, 30, 60, 61, 100, 140])
async def test_a_capture_falls_on_the_draws_in_their_order_and_frees_the_rest(ledger: Ledger, amount_micro: int) -> None:
    await ledger.add_account("second", 40)
    (first, (first_micro, _)), (second, (second_micro, _)) = (await ledger.accounts()).items()
    hold_id = await ledger.held(140)
    assert codes(await ledger.capture((hold_id, amount_micro))) == ["ok"]
    from_first = min(amount_micro, first_micro)
    from_second = amount_micro - from_first
    assert await ledger.accounts() == {first: (first_micro - from_first, 0), second: (second_micro - from_second, 0)}
    assert await ledger.draws(hold_id) == [
        (first, first_micro, from_first, "captured"),
        (second, second_micro, from_second, "captured"),
    ]
    assert await ledger.revenue() == amount_micro
    assert codes(await ledger.capture((hold_id, amount_micro))) == ["ok"]
    assert codes(await ledger.capture((hold_id, amount_micro + 1))) == ["transfer_conflict"]


async def test_a_release_frees_every_draw(ledger: Ledger) -> None:
    await ledger.add_account("second", 40)
    before = await ledger.accounts()
    hold_id = await ledger.held(140)
    assert codes(await ledger.release(hold_id)) == ["ok"]
    assert await ledger.accounts() == before
    assert {draw[3] for draw in await ledger.draws(hold_id)} == {"released"}


async def test_what_a_capture_leaves_is_spendable_at_once(ledger: Ledger) -> None:
    hold_id = await ledger.held(100)
    await ledger.capture((hold_id, 40))
    assert codes(await ledger.hold((new_id(), 61), (new_id(), 60))) == ["insufficient_funds", "ok"]


async def test_holds_are_looked_up_and_not_searched_for_among_all_that_were_open(ledger: Ledger) -> None:
    """Each leaves an entry in the index of open ones until that is vacuumed."""
    await ledger.top_up(3_000_000_000)
    await write_history(ledger.conn, [ledger.wallet], 3_000)
    keys, none = [new_id()], ["{}"]
    capturing = (keys, [0], [5], keys, keys, none, keys, [0], keys, ["CNY"], [5])
    for statement, arguments in ((sql.CAPTURE, capturing), (sql.RELEASE_HOLDS, (keys,))):
        plan = "\n".join(row[0] for row in await ledger.conn.fetch(f"EXPLAIN {statement.sql}", *arguments))
        assert "hold_pkey" in plan and "hold_open_account" not in plan
