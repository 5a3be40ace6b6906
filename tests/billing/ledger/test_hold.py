"""Hold: what fits is set aside, once, from the accounts in draw order; what does not fit leaves no trace."""

import asyncio

import asyncpg
import pytest

from billing.errors import TransferConflict
from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.ledger.grants import Issue, issue
from billing.ledger.hold import hold
from billing.ledger.model import TEST_FLOOR, Held, HoldRequest
from billing.ledger.wallets import open_wallet
from tests.billing.ledger.book import Ledger, codes, open_ledger, until_blocked


async def test_sets_the_amount_aside(ledger: Ledger) -> None:
    hold_id = await ledger.held(60)
    assert await ledger.balance() == (100, 60)
    assert [draw[1:] for draw in await ledger.draws(hold_id)] == [(60, 0, "held")]


async def test_takes_the_last_unit_but_no_more(ledger: Ledger) -> None:
    assert codes(await ledger.hold((new_id(), 101))) == ["insufficient_funds"]
    await ledger.held(100)
    assert codes(await ledger.hold((new_id(), 1))) == ["insufficient_funds"]
    assert await ledger.balance() == (100, 100)


async def test_a_hold_of_nothing_is_a_hold(ledger: Ledger) -> None:
    await ledger.held(100)
    hold_id = await ledger.held(0)
    assert [draw[1:] for draw in await ledger.draws(hold_id)] == [(0, 0, "held")]


async def test_a_hold_below_nothing_is_refused_by_the_table(ledger: Ledger) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await ledger.hold((new_id(), -1))


async def test_a_replay_holds_nothing_more(ledger: Ledger) -> None:
    hold_id = await ledger.held(60)
    assert await ledger.hold((hold_id, 60)) == [Held(hold_id, 60)]
    assert await ledger.balance() == (100, 60)


async def test_a_replay_waits_for_no_grant_but_a_sponsors(ledger: Ledger) -> None:
    """A hold of nothing stands on the wallet's first account, here promotional money that begins later."""
    async with ledger.conn.transaction():
        soon = await ledger.conn.fetchval("SELECT billing.now() + interval '1 hour'")
        await issue(
            ledger.conn,
            [Issue(kind="promo", source="p", customer_id=ledger.customer, asset="CNY", amount=5, priority=-1, starts_at=soon)],
        )
    hold_id = await ledger.held(0)
    assert await ledger.hold((hold_id, 0)) == [Held(hold_id, 0)]


@pytest.mark.parametrize("end", ["capture", "release"])
async def test_a_replay_after_the_end_returns_what_was_held(ledger: Ledger, end: str) -> None:
    hold_id = await ledger.held(60)
    await (ledger.capture((hold_id, 10)) if end == "capture" else ledger.release(hold_id))
    posted, _ = await ledger.balance()
    assert await ledger.hold((hold_id, 60)) == [Held(hold_id, 60)]
    assert await ledger.balance() == (posted, 0)


@pytest.mark.parametrize("amount_micro", [0, 1, 59, 61, 1000])
async def test_the_same_id_with_another_amount_conflicts(ledger: Ledger, amount_micro: int) -> None:
    hold_id = await ledger.held(60)
    assert codes(await ledger.hold((hold_id, amount_micro))) == ["transfer_conflict"]
    assert await ledger.balance() == (100, 60)


async def test_the_same_id_for_another_wallet_conflicts(ledger: Ledger) -> None:
    other = await open_ledger(ledger.conn)
    hold_id = await ledger.held(60)
    assert codes(await other.hold((hold_id, 60))) == ["transfer_conflict"]
    assert codes(await ledger.hold((hold_id, 60), wallet=new_id())) == ["transfer_conflict"]
    assert (await ledger.balance(), await other.balance()) == ((100, 60), (100, 0))


async def test_an_unknown_wallet(ledger: Ledger) -> None:
    assert codes(await ledger.hold((new_id(), 0), wallet=new_id())) == ["unknown_wallet"]


async def test_a_batch_is_decided_in_order_and_a_large_one_does_not_bar_a_small_one(ledger: Ledger) -> None:
    asked = [(new_id(), amount) for amount in (60, 50, 30, 20, 10)]
    outcomes = await ledger.hold(*asked)
    assert codes(outcomes) == ["ok", "insufficient_funds", "ok", "insufficient_funds", "ok"]
    assert await ledger.balance() == (100, 100)


async def test_a_batch_over_several_wallets(ledger: Ledger) -> None:
    other, poor = await open_ledger(ledger.conn, 10), await open_ledger(ledger.conn, 0)
    wallets = [ledger.wallet, other.wallet, poor.wallet, new_id(), other.wallet, ledger.wallet]
    requests = [HoldRequest(new_id(), wallet, 10) for wallet in wallets]
    async with ledger.conn.transaction():
        outcomes = await hold(ledger.conn, requests)
    assert codes(outcomes) == ["ok", "ok", "insufficient_funds", "unknown_wallet", "insufficient_funds", "ok"]
    assert [await one.balance() for one in (ledger, other, poor)] == [(100, 20), (10, 10), (0, 0)]


async def test_the_first_of_two_with_the_same_id_wins(ledger: Ledger) -> None:
    hold_id = new_id()
    assert codes(await ledger.hold((hold_id, 60), (hold_id, 60), (hold_id, 10))) == ["ok", "ok", "transfer_conflict"]
    assert await ledger.balance() == (100, 60)


async def test_a_replay_takes_nothing_from_those_behind_it(ledger: Ledger) -> None:
    old = await ledger.held(50)
    assert codes(await ledger.hold((old, 50), (new_id(), 50))) == ["ok", "ok"]
    assert await ledger.balance() == (100, 100)


async def test_draws_on_one_account_after_the_other(ledger: Ledger) -> None:
    await ledger.add_account("second", 40)
    (first, (first_free, _)), (second, (second_free, _)) = (await ledger.accounts()).items()
    inside, across, rest = await ledger.held(first_free - 10), await ledger.held(20), await ledger.held(second_free - 10)
    assert [draw[:2] for draw in await ledger.draws(inside)] == [(first, first_free - 10)]
    assert [draw[:2] for draw in await ledger.draws(across)] == [(first, 10), (second, 10)]
    assert [draw[:2] for draw in await ledger.draws(rest)] == [(second, second_free - 10)]
    assert codes(await ledger.hold((new_id(), 1))) == ["insufficient_funds"]


async def test_passes_over_an_empty_account(ledger: Ledger) -> None:
    for name in ("a", "b", "c"):
        await ledger.add_account(name, 0)
    hold_id = await ledger.held(100)
    assert [draw[1] for draw in await ledger.draws(hold_id)] == [100]


async def test_a_replay_that_would_now_be_drawn_otherwise_holds_nothing_more(ledger: Ledger) -> None:
    await ledger.add_account("second", 100)
    await ledger.held(50)
    hold_id = await ledger.held(50)  # fills the first account; drawn again it would fall on the second
    await ledger.held(20)
    last = await ledger.held(60)
    assert len(await ledger.draws(last)) == 1
    before = await ledger.balance()
    await ledger.top_up(10)
    assert codes(await ledger.hold((hold_id, 50), (last, 60))) == ["ok", "ok"]
    assert await ledger.balance() == (before[0] + 10, before[1])


async def test_a_replay_that_would_now_be_split_holds_nothing_more(ledger: Ledger) -> None:
    await ledger.add_account("second", 100)
    whole = await ledger.held(60)
    await ledger.held(30)
    assert len(await ledger.draws(whole)) == 1
    assert codes(await ledger.hold((whole, 60))) == ["ok"]  # ten are left in the first account: it would be split now
    assert len(await ledger.draws(whole)) == 1
    assert await ledger.balance() == (200, 90)


async def test_two_wallets_at_once_under_one_id_do_not_share_a_hold(ledger: Ledger, pool: Pool) -> None:
    """The second finds one of its two rows taken; it must not keep the other."""
    other = await open_ledger(ledger.conn, 5)
    await other.add_account("second", 5)
    hold_id = new_id()
    async with pool.acquire() as watcher:
        async with ledger.conn.transaction():
            assert codes(await hold(ledger.conn, [HoldRequest(hold_id, ledger.wallet, 10)])) == ["ok"]
            rivals = asyncio.create_task(hold_in_transaction(pool, HoldRequest(hold_id, other.wallet, 10)))
            await until_blocked(watcher)
        with pytest.raises(TransferConflict):
            await rivals
    assert len(await ledger.draws(hold_id)) == 1
    assert (await ledger.balance(), await other.balance()) == ((100, 10), (10, 0))


async def hold_in_transaction(pool: Pool, request: HoldRequest) -> object:
    async with pool.acquire() as conn, conn.transaction():
        (outcome,) = await hold(conn, [request])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def test_play_money_does_not_run_out(ledger: Ledger) -> None:
    async with ledger.conn.transaction():
        wallet = await open_wallet(ledger.conn, ledger.customer, "test", "CNY")
    assert codes(await ledger.hold((new_id(), 10**15), wallet=wallet)) == ["ok"]
    assert codes(await ledger.hold((new_id(), -TEST_FLOOR), wallet=wallet)) == ["insufficient_funds"]
