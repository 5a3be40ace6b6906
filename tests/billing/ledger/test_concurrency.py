"""Many connections on few wallets: no overspending, no deadlock, one outcome per id."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

from billing.errors import BillingError
from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.ledger.capture import capture
from billing.ledger.grants import Issue, expire, issue
from billing.ledger.hold import hold
from billing.ledger.model import Captured, CaptureRequest, Held, HoldRequest, RefundRequest, Released
from billing.ledger.refund import refund
from billing.ledger.release import release
from billing.ledger.wallets import top_up
from tests.billing.ledger.book import Ledger, codes, open_ledger

CONNECTIONS = 8


async def test_a_hot_wallet_is_never_overspent(ledger: Ledger, pool: Pool) -> None:
    """Eight connections ask for 7 at a time out of 100, alone and in batches."""

    async def spend(size: int) -> list[str]:
        found: list[str] = []
        async with pool.acquire() as conn:
            for _ in range(6):
                async with conn.transaction():
                    found += codes(await hold(conn, [HoldRequest(new_id(), ledger.wallet, 7) for _ in range(size)]))
        return found

    outcomes = await asyncio.gather(*[spend(1 + n % 3) for n in range(CONNECTIONS)])
    flat = [code for outcome in outcomes for code in outcome]
    assert flat.count("ok") == 100 // 7
    assert set(flat) == {"ok", "insufficient_funds"}
    assert await ledger.balance() == (100, 98)


async def test_one_id_from_everywhere_is_held_and_charged_once(ledger: Ledger, pool: Pool) -> None:
    hold_id = new_id()

    async def spend() -> tuple[list[Held | BillingError], list[Captured | BillingError]]:
        async with pool.acquire() as conn:
            async with conn.transaction():
                held = await hold(conn, [HoldRequest(hold_id, ledger.wallet, 80)])
            async with conn.transaction():
                return held, await capture(conn, [CaptureRequest(hold_id, 0, 30)])

    outcomes = await asyncio.gather(*[spend() for _ in range(CONNECTIONS)])
    assert {tuple(map(type, (held, captured))) for (held,), (captured,) in outcomes} == {(Held, Captured)}
    assert (await ledger.balance(), await ledger.revenue()) == ((70, 0), 30)


async def test_of_capture_and_release_one_wins(ledger: Ledger, pool: Pool) -> None:
    async def end(hold_id: UUID, how: str) -> str:
        async with pool.acquire() as conn, conn.transaction():
            requests = [CaptureRequest(hold_id, 0, 1)]
            outcome: Sequence[object] = await (capture(conn, requests) if how == "c" else release(conn, [hold_id]))
            return codes(outcome)[0]

    charged = 0
    for _ in range(20):
        hold_id = await ledger.held(5)
        ends = await asyncio.gather(end(hold_id, "c"), end(hold_id, "r"))
        assert sorted(ends) == ["hold_not_open", "ok"]
        charged += ends[0] == "ok"
    assert (await ledger.balance(), await ledger.revenue()) == ((100 - charged, 0), charged)


async def test_a_refund_from_everywhere_is_given_once(ledger: Ledger, pool: Pool) -> None:
    hold_id = await ledger.held(60)
    await ledger.capture((hold_id, 60))

    async def give_back(reason: str) -> str:
        async with pool.acquire() as conn, conn.transaction():
            return codes(await refund(conn, [RefundRequest(hold_id, 0, 20, reason)]))[0]

    told = await asyncio.gather(*[give_back(f"finding {n % 4}") for n in range(CONNECTIONS)])
    assert sorted(told) == ["ok"] * 6 + ["refund_exceeds_capture"] * 2
    assert await ledger.balance() == (100, 0)


async def test_a_grant_expires_once_beside_those_who_use_it(ledger: Ledger, pool: Pool) -> None:
    """Clerks expire what captures and releases of live holds leave over, all at once: nothing is lost, nothing twice."""
    async with ledger.conn.transaction():
        soon = await ledger.conn.fetchval("SELECT billing.now() + interval '1 hour'")
        grant = Issue(
            kind="promo", source="g", customer_id=ledger.customer, asset="CNY", amount=1000, expires_at=soon, priority=-1
        )
        (account,) = await issue(ledger.conn, [grant])
    holds = [await ledger.held(10) for _ in range(24)]
    await ledger.conn.execute(
        "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql AS"
        " $$ SELECT pg_catalog.clock_timestamp() + interval '2 hours' $$"
    )

    async def end(some: list[UUID], how: int) -> None:
        async with pool.acquire() as conn:
            for hold_id in some:
                async with conn.transaction():
                    await (capture(conn, [CaptureRequest(hold_id, 0, 4)]) if how else release(conn, [hold_id]))

    async def clerk() -> None:
        async with pool.acquire() as conn:
            for _ in range(8):
                async with conn.transaction():
                    await expire(conn)

    await asyncio.gather(*[end(holds[n::4], n % 2) for n in range(4)], *[clerk() for _ in range(4)])
    async with ledger.conn.transaction():
        await expire(ledger.conn)
    rows = await ledger.conn.fetch(
        "SELECT t.kind, sum(e.amount)::bigint AS amount FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id"
        " WHERE e.account_id = $1 GROUP BY 1",
        account,
    )
    assert {row["kind"]: row["amount"] for row in rows} == {"promo": 1000, "capture": -48, "expire_promo": -952}


async def test_mixed_batches_in_any_order_do_not_deadlock(ledger: Ledger, pool: Pool) -> None:
    """Every connection works on all wallets and on all holds, each time in another order."""
    books = [ledger, await open_ledger(ledger.conn, 100_000), await open_ledger(ledger.conn, 100_000)]
    await books[1].add_account("second", 100_000)
    await ledger.top_up(100_000)
    known: list[tuple[UUID, int]] = []

    async def work(seed: int) -> None:
        dice = random.Random(seed)
        async with pool.acquire() as conn:
            for _ in range(25):
                wanted = [
                    HoldRequest(new_id(), dice.choice(books).wallet, dice.randrange(500)) for _ in range(dice.randrange(1, 12))
                ]
                async with conn.transaction():
                    outcomes = await hold(conn, wanted)
                known.extend((one.id, one.amount_micro) for one in outcomes if isinstance(one, Held))
                some = dice.sample(known, min(len(known), 16))
                async with conn.transaction():
                    await capture(conn, [CaptureRequest(key, 0, amount // 2) for key, amount in some[:8]])
                async with conn.transaction():
                    freed = await release(conn, [key for key, _ in some[8:]])
                async with conn.transaction():
                    await refund(conn, [RefundRequest(key, 0, amount // 4, f"{dice.randrange(3)}") for key, amount in some])
                async with conn.transaction():
                    await top_up(conn, source=str(new_id()), customer_id=dice.choice(books).customer, asset="CNY", amount_micro=1)
                assert {type(one) for one in freed if not isinstance(one, BillingError)} <= {Released}

    await asyncio.gather(*[work(seed) for seed in range(CONNECTIONS)])
    states = {row["state"] for row in await ledger.conn.fetch("SELECT DISTINCT state FROM billing.hold")}
    assert states == {"held", "captured", "released"}
