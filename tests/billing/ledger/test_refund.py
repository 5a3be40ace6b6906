"""Refunds: what is given back, to which grant, on which terms."""

from datetime import timedelta

import pytest

from billing.kit.ids import derived_id, new_id
from billing.ledger.model import Held, HoldRequest, Refunded, Seconds
from tests.billing.ledger.book import Ledger, codes
from tests.billing.ledger.test_grants import SOON, Shelf


@pytest.fixture
async def shelf(ledger: Ledger) -> Shelf:
    return Shelf(ledger)


async def test_says_what_was_given_back_and_says_it_again(shelf: Shelf) -> None:
    await shelf.issue("promo", 10)
    await shelf.pack(3000, 100)
    hold_id = await shelf.held(60, 5000, 10)
    await shelf.capture(hold_id, 3000, 20)
    told = Refunded(hold_id, 13, derived_id("refund", hold_id, "r"), 2000, 3)
    assert [await shelf.refund(hold_id, 2000, 13) for _ in range(2)] == [told, told]
    for ms, amount in ((2000, 12), (1999, 13)):
        assert codes([await shelf.refund(hold_id, ms, amount)]) == ["transfer_conflict"]


async def test_each_refund_of_an_expired_grant_has_a_grant_of_its_own(shelf: Shelf) -> None:
    """Thirty days from then, at the same priority; two thirds of a price of a hundred are 66, a third is 33."""
    pack = await shelf.pack(3000, 100, expires_at=SOON, priority=3)
    hold_id = await shelf.held(0, 3000)
    await shelf.capture(hold_id, 3000)
    await shelf.pass_time(2)
    await shelf.refund(hold_id, 2000, reason="one")
    await shelf.refund(hold_id, 1000, reason="two")
    now = await shelf.conn.fetchval("SELECT billing.now()")
    rows = await shelf.conn.fetch(
        "SELECT kind, priority, starts_at, expires_at, issued, basis_micro, basis_asset, source FROM billing.grant"
        " WHERE kind = 'pack' AND account_id <> $1 ORDER BY created_at",
        pack,
    )
    assert [tuple(row)[:3] + tuple(row)[4:] for row in rows] == [
        ("pack", 3, None, 2000, 66, "CNY", f"refund of {hold_id}"),
        ("pack", 3, None, 1000, 33, "CNY", f"refund of {hold_id}"),
    ]
    assert all(timedelta(days=30, minutes=-5) < row["expires_at"] - now < timedelta(days=30, minutes=5) for row in rows)
    assert (await shelf.sums())["liability:deferred"] == 99
    later = HoldRequest(new_id(), shelf.ledger.wallet, 7, Seconds(shelf.seconds, 3000, 10))
    await shelf.pass_time(33)
    assert await shelf.hold(later) == Held(later.id, 7)
    assert len(await shelf.expire()) == 2
    assert await shelf.expire() == []
