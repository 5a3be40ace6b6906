"""Grants of every kind: in which order they are drawn on, what using, expiring and giving back does to each."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.errors import BillingError, InsufficientFunds, TransferConflict, UnknownAsset
from billing.kit.ids import new_id
from billing.ledger.capture import capture
from billing.ledger.grants import Issue, expire, issue, roll_over
from billing.ledger.hold import hold
from billing.ledger.model import (
    PLATFORM,
    Captured,
    CaptureRequest,
    Held,
    HoldRequest,
    Refunded,
    RefundRequest,
    Seconds,
    Sponsor,
    capture_transfer_id,
    paid_account_id,
    wallet_id,
)
from billing.ledger.post import Posting, post_all
from billing.ledger.refund import refund
from billing.ledger.wallets import set_credit_limit
from tests.billing.ledger.book import Ledger, codes

SOON, LATER = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) + timedelta(days=9)


class Shelf:
    """What tests do with the grants of one customer."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.conn = ledger, ledger.conn
        self.seconds = wallet_id(ledger.customer, "live", "SEC:h100")

    async def issue(self, kind: str, amount: int, **terms: Any) -> UUID:
        given: dict[str, Any] = {
            "kind": kind,
            "source": str(new_id()),
            "customer_id": self.ledger.customer,
            "asset": "CNY",
            "amount": amount,
            **terms,
        }
        async with self.conn.transaction():
            return (await issue(self.conn, [Issue(**given)]))[0]

    async def pack(self, ms: int, basis: int, kind: str = "pack", **terms: Any) -> UUID:
        return await self.issue(kind, ms, asset="SEC:h100", currency="CNY", basis_micro=basis, **terms)

    async def hold(self, request: HoldRequest) -> Held | BillingError:
        async with self.conn.transaction():
            return (await hold(self.conn, [request]))[0]

    async def held(self, amount: int, ms: int = 0, rate: int = 0) -> UUID:
        """A hold that was accepted; with `ms`, of seconds before money."""
        hold_id = new_id()
        seconds = Seconds(self.seconds, ms, rate) if ms else None
        assert isinstance(await self.hold(HoldRequest(hold_id, self.ledger.wallet, amount, seconds)), Held)
        return hold_id

    async def capture(self, hold_id: UUID, ms: int = 0, amount: int = 0, sponsor: int = 0) -> Captured | BillingError:
        async with self.conn.transaction():
            return (await capture(self.conn, [CaptureRequest(hold_id, ms, amount, sponsor, {"a": 1})]))[0]

    async def refund(self, hold_id: UUID, ms: int = 0, amount: int = 0, reason: str = "r") -> Refunded | BillingError:
        async with self.conn.transaction():
            return (await refund(self.conn, [RefundRequest(hold_id, ms, amount, reason)]))[0]

    async def expire(self) -> list[UUID]:
        async with self.conn.transaction():
            return await expire(self.conn)

    async def left(self, account: UUID) -> tuple[int, int]:
        row = await self.conn.fetchrow("SELECT posted, held FROM billing.balance WHERE account_id = $1", account)
        assert row is not None
        return row["posted"], row["held"]

    async def sums(self) -> dict[str, int]:
        """What stands on each account of ours, without those that are empty."""
        rows = await self.conn.fetch(
            "SELECT split_part(a.path, ':live:', 1) AS name, sum(e.amount)::bigint AS amount FROM billing.entry e"
            " JOIN billing.account a ON a.id = e.account_id WHERE a.wallet_id IS NULL GROUP BY 1 HAVING sum(e.amount) <> 0"
        )
        return {row["name"]: row["amount"] for row in rows}

    async def pass_time(self, days: int) -> None:
        """Time in this database goes on by so much."""
        await self.conn.execute(
            "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
            f" 'SELECT pg_catalog.clock_timestamp() + interval ''{days} days'''"
        )


@pytest.fixture
async def shelf(ledger: Ledger) -> Shelf:
    return Shelf(ledger)


async def test_draw_order(shelf: Shelf) -> None:
    paid = paid_account_id(shelf.ledger.wallet)
    promo = await shelf.issue("promo", 10)
    late = await shelf.issue("promo", 10, expires_at=LATER)
    voucher = await shelf.issue("voucher", 10, expires_at=SOON)
    gift = await shelf.issue("promo", 10, expires_at=SOON)
    first = await shelf.issue("promo", 10, priority=-1)
    async with shelf.conn.transaction():
        credit = await set_credit_limit(
            shelf.conn, source="contract", customer_id=shelf.ledger.customer, book="live", asset="CNY", limit_micro=50
        )
    hold_id = await shelf.held(200)
    draws = [(account, amount) for account, amount, _, _ in await shelf.ledger.draws(hold_id)]
    assert draws == [(first, 10), (gift, 10), (voucher, 10), (late, 10), (promo, 10), (paid, 100), (credit, 50)]
    assert isinstance(await shelf.hold(HoldRequest(new_id(), shelf.ledger.wallet, 1)), InsufficientFunds)
    assert await shelf.capture(hold_id, amount=195) == Captured(hold_id, 195, capture_transfer_id(hold_id), 0, 40)
    assert await shelf.sums() == {"asset:clearing": -110, "revenue:usage": 155}


async def test_seconds_before_money_and_money_for_the_rest(shelf: Shelf) -> None:
    pack = await shelf.pack(5000, 3)
    hold_id = new_id()
    request = HoldRequest(hold_id, shelf.ledger.wallet, 80, Seconds(shelf.seconds, 8000, 10))
    assert await shelf.hold(request) == Held(hold_id, 30, 5000)
    assert await shelf.hold(request) == Held(hold_id, 30, 5000)
    assert await shelf.left(pack) == (5000, 5000)
    assert isinstance(await shelf.capture(hold_id, 5001, 0), BillingError)
    assert await shelf.capture(hold_id, 4000, 20) == Captured(hold_id, 20, capture_transfer_id(hold_id), 4000)
    assert await shelf.left(pack) == (1000, 0)
    assert await shelf.ledger.balance() == (80, 0)
    assert await shelf.sums() == {
        "asset:clearing": -103, "liability:deferred": -2 + 3, "revenue:usage": 22, "units:issued": -5000, "units:used": 4000,
    }  # fmt: skip


async def test_without_seconds_the_whole_maximum_is_held(shelf: Shelf) -> None:
    hold_id = new_id()
    assert await shelf.hold(HoldRequest(hold_id, shelf.ledger.wallet, 85, Seconds(shelf.seconds, 8000, 10))) == Held(hold_id, 85)


async def test_a_sponsor_covers_all_or_nothing_and_may_begin_later(shelf: Shelf) -> None:
    budget = wallet_id(PLATFORM, "live", "USD")
    before = SOON - timedelta(days=40)
    today = await shelf.issue("budget", 50, customer_id=PLATFORM, asset="USD", starts_at=before, expires_at=SOON)
    tomorrow = await shelf.issue("budget", 50, customer_id=PLATFORM, asset="USD", starts_at=SOON, expires_at=LATER)
    await shelf.issue("allowance", 9000, asset="SEC:h100")
    free = Seconds(shelf.seconds, 1000, 5)
    one, two, three = (HoldRequest(new_id(), shelf.ledger.wallet, 5, free, Sponsor(budget, 30)) for _ in range(3))
    assert await shelf.hold(one) == Held(one.id, 0, 1000)
    assert await shelf.hold(two) == Held(two.id, 0, 1000, SOON)
    assert codes([await shelf.hold(three)]) == ["budget_spent"]
    assert await shelf.hold(two) == Held(two.id, 0, 1000, SOON)
    assert (await shelf.left(today), await shelf.left(tomorrow)) == ((50, 30), (50, 30))
    assert codes([await shelf.capture(one.id, 1000, sponsor=31)]) == ["capture_exceeds_hold"]
    assert codes([await shelf.capture(one.id, 1000, sponsor=12)]) == ["ok"]
    assert await shelf.left(today) == (38, 0)


async def test_a_replay_of_seconds_money_and_a_later_budget_waits_for_the_budget(shelf: Shelf) -> None:
    budget = wallet_id(PLATFORM, "live", "USD")
    await shelf.issue("budget", 50, customer_id=PLATFORM, asset="USD", starts_at=SOON, expires_at=LATER)
    await shelf.issue("allowance", 400, asset="SEC:h100")
    request = HoldRequest(new_id(), shelf.ledger.wallet, 5, Seconds(shelf.seconds, 1000, 5), Sponsor(budget, 30))
    held = Held(request.id, 3, 400, SOON)
    assert await shelf.hold(request) == held
    assert await shelf.hold(request) == held


async def test_the_deferred_price_is_earned_to_the_last_unit_and_given_back_exactly(shelf: Shelf) -> None:
    await shelf.pack(3, 100)
    deferred: list[int] = []
    holds = [await shelf.held(0, 1) for _ in range(3)]
    for hold_id in holds:
        await shelf.capture(hold_id, 1)
        deferred.append((await shelf.sums()).get("liability:deferred", 0))
    assert deferred == [67, 34, 0]
    assert await shelf.refund(holds[0], 1) == await shelf.refund(holds[0], 1)
    assert (await shelf.sums())["liability:deferred"] == 34
    assert codes([await shelf.refund(holds[0], 1, reason="again")]) == ["refund_exceeds_capture"]
    assert codes([await shelf.refund(holds[0], 0)]) == ["transfer_conflict"]


@pytest.mark.parametrize("end", ["held", "released", "missing"])
async def test_what_was_not_captured_is_not_refunded(shelf: Shelf, end: str) -> None:
    hold_id = await shelf.held(30)
    if end == "released":
        await shelf.ledger.release(hold_id)
    asked = new_id() if end == "missing" else hold_id
    assert codes([await shelf.refund(asked, amount=1), await shelf.refund(asked)]) == ["refund_exceeds_capture"] * 2


async def test_a_refund_goes_back_in_reverse_order(shelf: Shelf) -> None:
    promo = await shelf.issue("promo", 10)
    hold_id = await shelf.held(30)
    await shelf.capture(hold_id, amount=30)
    assert codes([await shelf.refund(hold_id, amount=25, reason="one"), await shelf.refund(hold_id, amount=6, reason="two")]) == [
        "ok", "refund_exceeds_capture",
    ]  # fmt: skip
    assert (await shelf.left(promo), await shelf.left(paid_account_id(shelf.ledger.wallet))) == ((5, 0), (100, 0))
    assert await shelf.sums() == {"asset:clearing": -100, "revenue:usage": 20, "contra:refunds": -20, "memo:promo_issued": -5}


async def test_a_refund_of_an_expired_grant_opens_one_with_grace(shelf: Shelf) -> None:
    await shelf.issue("promo", 10, expires_at=SOON)
    pack = await shelf.pack(3000, 100, expires_at=SOON)
    hold_id = await shelf.held(60, 4000, 10)
    await shelf.capture(hold_id, 3000, 10)
    await shelf.pass_time(2)
    assert codes([await shelf.refund(hold_id, 2000, 10)]) == ["ok"]
    assert await shelf.left(pack) == (0, 0)
    assert await shelf.sums() == {
        "asset:clearing": -200, "memo:promo_issued": -10, "liability:deferred": 66, "revenue:usage": 34, "units:issued": -3000, "units:used": 1000,
    }  # fmt: skip
    assert await shelf.hold(HoldRequest(new_id(), shelf.ledger.wallet, 110)) != InsufficientFunds()
    assert await shelf.hold(again := HoldRequest(new_id(), shelf.ledger.wallet, 0, Seconds(shelf.seconds, 2000, 1))) == Held(
        again.id, 0, 2000
    )


async def test_expiry_takes_what_no_hold_keeps(shelf: Shelf) -> None:
    promo = await shelf.issue("promo", 10, expires_at=SOON)
    pack = await shelf.pack(3000, 100, expires_at=SOON)
    hold_id = await shelf.held(20, 1000, 5)
    other = await shelf.held(4)
    await shelf.pass_time(2)
    assert set(await shelf.expire()) == {promo, pack}
    assert await shelf.expire() == []
    assert (await shelf.left(promo), await shelf.left(pack)) == ((4, 4), (1000, 1000))
    assert codes([await shelf.hold(HoldRequest(new_id(), shelf.ledger.wallet, 101))]) == ["insufficient_funds"]
    assert codes([await shelf.capture(hold_id, 500), await shelf.capture(other, amount=1)]) == ["ok", "ok"]
    assert set(await shelf.expire()) == {promo, pack}
    assert (await shelf.left(promo), await shelf.left(pack)) == ((0, 0), (0, 0))
    assert await shelf.sums() == {
        "asset:clearing": -200, "revenue:breakage": 83, "revenue:usage": 17,
        "units:issued": -3000, "units:expired": 2500, "units:used": 500,
    }  # fmt: skip


async def test_a_grant_is_issued_once_on_the_same_terms(shelf: Shelf) -> None:
    account = await shelf.pack(3000, 100, source="order-1", tax_micro=6)
    assert await shelf.pack(3000, 100, source="order-1", tax_micro=6) == account
    for other in ({"ms": 3001}, {"basis": 101}, {"tax_micro": 7}, {"priority": 1}, {"expires_at": SOON}):
        terms: dict[str, Any] = {"ms": 3000, "basis": 100, "source": "order-1", "tax_micro": 6, **other}
        with pytest.raises(TransferConflict):
            await shelf.pack(**terms)
    assert await shelf.left(account) == (3000, 0)


async def test_a_pack_bought_from_a_wallet_that_is_too_poor_leaves_nothing(shelf: Shelf) -> None:
    payer = {"wallet": paid_account_id(shelf.ledger.wallet)}
    with pytest.raises(InsufficientFunds):
        await shelf.pack(3000, 101, "pack_from_wallet", accounts=payer)
    assert await shelf.conn.fetchval("SELECT count(*) FROM billing.grant WHERE kind = 'pack'") == 0
    await shelf.pack(3000, 94, "pack_from_wallet", accounts=payer, tax_micro=6)
    assert await shelf.ledger.balance() == (0, 0)


async def test_seconds_roll_over_with_their_price(shelf: Shelf) -> None:
    old = await shelf.pack(3000, 100, "subscription", expires_at=SOON)
    await shelf.capture(await shelf.held(0, 1000), 1000)
    into = Issue(
        kind="rollover", source="dec", customer_id=shelf.ledger.customer, asset="SEC:h100", amount=1500, expires_at=LATER
    )
    async with shelf.conn.transaction():
        new = await roll_over(shelf.conn, old, into)
    async with shelf.conn.transaction():
        assert await roll_over(shelf.conn, old, into) == new
    assert (await shelf.left(old), await shelf.left(new)) == ((500, 0), (1500, 0))
    await shelf.pass_time(2)
    assert await shelf.expire() == [old]
    assert await shelf.sums() == {
        "asset:clearing": -200, "liability:deferred": 50, "revenue:subscription": 50,
        "units:issued": -3000, "units:used": 1000, "units:expired": 500,
    }  # fmt: skip


async def test_no_more_rolls_over_than_is_left_and_not_held(shelf: Shelf) -> None:
    old = await shelf.pack(3000, 100, "subscription", expires_at=SOON)
    await shelf.held(0, 1000, 1)
    into = Issue(kind="rollover", source="dec", customer_id=shelf.ledger.customer, asset="SEC:h100", amount=2001)
    for amount, error in ((2001, InsufficientFunds), (2000, None), (1999, TransferConflict)):
        with pytest.raises(error) if error else nullcontext():
            async with shelf.conn.transaction():
                await roll_over(shelf.conn, old, msgspec.structs.replace(into, amount=amount))
    assert await shelf.left(old) == (1000, 1000)


async def test_an_amount_decided_once_is_the_same_in_a_replay(shelf: Shelf) -> None:
    """The price that went with these seconds depends on what was left then; asked again now, it would be another."""
    period = await shelf.pack(3, 100, "subscription", source="s")
    into = Issue(kind="rollover", source="dec", customer_id=shelf.ledger.customer, asset="SEC:h100", amount=1)

    async def moved() -> UUID:
        async with shelf.conn.transaction():
            return await roll_over(shelf.conn, period, into)

    done = await moved()
    async with shelf.conn.transaction():
        await roll_over(shelf.conn, period, msgspec.structs.replace(into, source="jan", amount=2))
    assert await moved() == done


async def test_expires_so_many_at_a_time_down_to_the_last_unit(shelf: Shelf) -> None:
    grants = [await shelf.issue("promo", 1, expires_at=SOON + timedelta(hours=hour)) for hour in range(3)]
    await shelf.pass_time(2)
    async with shelf.conn.transaction():
        assert await expire(shelf.conn, 2) == sorted(grants[:2])
    assert await shelf.expire() == grants[2:]
    assert await shelf.conn.fetchval("SELECT count(*) FROM billing.transfer WHERE payload ? 'units'") == 0


@pytest.mark.parametrize("asset", ["EUR", "SEC:", "SEC:H100", "SEC:a b", "SEC:" + "a" * 41, "SEC:h_1", "cny"])
async def test_an_unknown_asset_is_named(shelf: Shelf, asset: str) -> None:
    with pytest.raises(UnknownAsset, match=asset):
        await shelf.issue("allowance" if asset.startswith("SEC:") else "promo", 10, asset=asset)


async def test_postpaid_owes_at_most_its_limit_invoiced_or_not(shelf: Shelf) -> None:
    ledger, customer = shelf.ledger, shelf.ledger.customer

    async def limit(micro: int, source: str) -> UUID:
        async with shelf.conn.transaction():
            return await set_credit_limit(
                shelf.conn, source=source, customer_id=customer, book="live", asset="CNY", limit_micro=micro
            )

    async def event(kind: str, **amounts: int) -> None:
        async with shelf.conn.transaction():
            posting = Posting(
                kind=kind, source=str(new_id()), subject_id=customer, book="live", asset="CNY", amounts=amounts,
                accounts={"credit": credit}, dimensions={"customer": str(customer)},
            )  # fmt: skip
            await post_all(shelf.conn, [posting])

    async def free() -> int:
        return await shelf.conn.fetchval("SELECT posted - held - floor FROM billing.balance WHERE account_id = $1", credit)

    credit = await limit(1000, "contract")
    assert await limit(1000, "contract") == credit
    with pytest.raises(TransferConflict):
        await limit(1001, "contract")
    hold_id = await shelf.held(800)
    await shelf.capture(hold_id, amount=800)
    assert (await free(), await shelf.left(credit)) == (300, (-700, 0))
    await event("close", total=742, usage=700, shortfall=0, tax=42, rounding=0)
    assert (await free(), await shelf.left(credit)) == (258, (0, 0))
    await shelf.held(258)
    await event("payment", amount=742)
    assert await free() == 742
    await limit(100, "cut")
    assert await free() == 100 - 258
    assert codes([await shelf.hold(HoldRequest(new_id(), ledger.wallet, 1))]) == ["insufficient_funds"]
    await limit(1000, "grown")
    assert await free() == 742
    assert await limit(1000, "contract") == credit
