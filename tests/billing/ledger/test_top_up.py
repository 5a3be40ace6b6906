"""Top-up: a payment is booked once, for one customer and one amount."""

import pytest

from billing.errors import TransferConflict
from billing.ledger.model import WalletState, platform_account_id
from billing.ledger.wallets import lines_of, open_wallet, top_up, wallets
from tests.billing.ledger.book import Ledger, open_ledger


async def test_adds_to_the_wallet_and_stands_in_clearing(ledger: Ledger) -> None:
    await ledger.top_up(23)
    assert await wallets(ledger.conn, ledger.customer) == [WalletState(ledger.wallet, "live", "CNY", 123, 0)]
    lines = await lines_of(ledger.conn, ledger.customer)
    assert [(line.kind, line.account, line.amount) for line in lines[-2:]] == [
        ("top_up", "asset:clearing:live:CNY", -23),
        ("top_up", f"wallet:{ledger.customer}:live:CNY:paid", 23),
    ]


async def test_a_source_is_booked_once(ledger: Ledger) -> None:
    first = await ledger.top_up(23, "payment-1")
    assert await ledger.top_up(23, "payment-1") == first
    assert await ledger.balance() == (123, 0)
    assert await ledger.top_up(23, "payment-2") != first
    assert await ledger.balance() == (146, 0)


async def test_a_source_does_not_change_its_amount_customer_or_asset(ledger: Ledger) -> None:
    other = await open_ledger(ledger.conn)
    await ledger.top_up(23, "payment-1")
    with pytest.raises(TransferConflict):
        await ledger.top_up(24, "payment-1")
    with pytest.raises(TransferConflict):
        await other.top_up(23, "payment-1")
    with pytest.raises(TransferConflict):
        async with ledger.conn.transaction():
            await top_up(ledger.conn, source="payment-1", customer_id=ledger.customer, asset="USD", amount_micro=23)
    assert (await ledger.balance(), await other.balance()) == ((123, 0), (100, 0))


@pytest.mark.parametrize("amount_micro", [0, -1])
async def test_nothing_is_no_top_up(ledger: Ledger, amount_micro: int) -> None:
    with pytest.raises(ValueError, match="more than zero"):
        await ledger.top_up(amount_micro)


async def test_opens_the_wallet_it_needs(ledger: Ledger) -> None:
    async with ledger.conn.transaction():
        await top_up(ledger.conn, source="p", customer_id=ledger.customer, asset="USD", amount_micro=5)
    assert [(w.asset, w.posted) for w in await wallets(ledger.conn, ledger.customer)] == [("CNY", 100), ("USD", 5)]


async def test_opening_a_wallet_again_changes_nothing(ledger: Ledger) -> None:
    assert await open_wallet(ledger.conn, ledger.customer, "live", "CNY") == ledger.wallet
    assert await ledger.balance() == (100, 0)


async def test_books_are_apart() -> None:
    names = {platform_account_id("revenue:usage", book, asset) for book in ("live", "test") for asset in ("CNY", "USD")}
    assert len(names) == 4
