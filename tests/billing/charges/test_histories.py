"""Random histories of jobs: usage equals the ledger to the micro-unit, and every volume is counted once."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from billing.charges.model import Attempt, Delivery, Refund, Settled
from billing.charges.rollup import roll_up
from billing.kit.query import Conn, Pool
from billing.ledger.model import wallet_id
from billing.pricing.charge import charge
from billing.reports.margin import margin
from billing.reports.model import ask
from billing.reports.period import Period, zone_of
from billing.reports.usage import usage
from tests.billing.charges.till import FACTS, GRADUATED, IMAGES, PACKED, PLAIN, SECOND, Till, delivering, ended, open_till
from tests.billing.ledger.book import codes

# What jobs moved, by the ledger alone: paid and credit, promotional, prepaid revenue, cost.
LEDGER = """
    SELECT coalesce(-sum(e.amount) FILTER (WHERE g.kind IN ('paid', 'credit')), 0)::bigint AS net,
           coalesce(-sum(e.amount) FILTER (WHERE g.kind = 'promo'), 0)::bigint AS granted,
           coalesce(-sum(e.amount) FILTER (WHERE g.kind IN ('pack', 'allowance')), 0)::bigint AS seconds,
           coalesce(sum(e.amount) FILTER (WHERE a.path LIKE 'revenue:%' OR a.path LIKE 'contra:refunds%'), 0)::bigint AS revenue,
           coalesce(sum(e.amount) FILTER (WHERE a.path LIKE 'liability:gpu_accrued%'), 0)::bigint AS cost
    FROM billing.transfer t JOIN billing.entry e ON e.transfer_id = t.id JOIN billing.account a ON a.id = e.account_id
    LEFT JOIN billing.grant g ON g.account_id = e.account_id
    WHERE t.kind IN ('capture', 'refund', 'cost')
"""


async def reported(conn: Conn) -> dict[str, int]:
    """The whole of time as reports have it."""
    period = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1), zone_of("UTC"))
    lines = await usage(conn, ask(period, ["model"], {}, book="live"))
    margins = await margin(conn, ask(period, ["model"], {}, book="live"))
    return {
        "net": sum(line.net_micro for line in lines),
        "granted": sum(line.granted_micro for line in lines),
        "seconds": sum(line.seconds_ms for line in lines),
        "revenue": sum(one.line.revenue_micro for one in margins),
        "cost": sum(one.line.cost_micro for one in margins),
    }


async def compare(conn: Conn) -> None:
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        truth = await conn.fetchrow(LEDGER)
        assert truth is not None
        assert await reported(conn) == {**dict(truth), "revenue": truth["revenue"]}


async def some_job(till: Till, choose: random.Random) -> None:
    terms = choose.choice([PLAIN, PACKED, PACKED, GRADUATED, IMAGES])
    quantity = choose.choice([0, 1, 7, 1234, 8000]) if terms is not IMAGES else choose.randrange(5)
    delivery = await till.held(quantity, terms)
    attempts = tuple(
        Attempt(number=n, pool=choose.choice("ab"), chip="H100", outcome="failed", run_ms=n, cost_micro=choose.randrange(50))
        for n in range(1, choose.randrange(4))
    )
    facts = msgspec.structs.replace(FACTS, attempts=attempts, model=choose.choice(["film", "still"]))
    delivery = msgspec.structs.replace(delivering(delivery, choose.randrange(quantity + 1)), facts=facts)
    if choose.random() < 0.2:
        await till.release(ended(delivery, facts))
        return
    assert codes(await till.settle(delivery)) == ["ok"]
    while choose.random() < 0.4:
        amount = choose.choice([None, None, 1, choose.randrange(1, SECOND)])
        await till.refund(Refund(id=delivery.id, reason=choose.choice("xyz"), amount_micro=amount))


@pytest.mark.parametrize("seed", range(4))
async def test_usage_equals_the_ledger(till: Till, pool: Pool, seed: int) -> None:
    choose = random.Random(seed)
    await till.grant("promo", 5 * SECOND)
    await till.pack(20_000, 7_777_777)
    await till.grant("allowance", 5000)
    writing = True

    async def watch() -> None:
        async with pool.acquire() as conn:
            while writing:
                async with conn.transaction():
                    await roll_up(conn, rows_max=3)
                await compare(conn)

    watching = asyncio.create_task(watch())
    try:
        for _ in range(25):
            await some_job(till, choose)
    finally:
        writing = False
        await watching
    await compare(till.conn)


async def test_a_month_is_counted_once_by_many_settling_at_once(till: Till, pool: Pool) -> None:
    """Eight connections settle batches of one customer's jobs, some of them twice: the sum is that of one long job."""
    jobs = [await till.held(500, GRADUATED) for _ in range(60)]
    charged: dict[object, int] = {}

    async def work(part: list[Delivery]) -> None:
        async with pool.acquire() as conn:
            own = Till(conn, till.customer)
            for start in range(0, len(part), 3):
                for outcome in await own.settle(*part[start : start + 3]):
                    assert isinstance(outcome, Settled)
                    assert charged.setdefault(outcome.id, outcome.amount_micro) == outcome.amount_micro

    shuffled = jobs + jobs[:20]
    random.Random(1).shuffle(shuffled)
    await asyncio.gather(*(work(shuffled[n::8]) for n in range(8)))
    assert len(charged) == 60 and sum(charged.values()) == charge(GRADUATED, 30_000)
    posted, held = await till.balance()
    assert (100 * SECOND - posted, held) == (charge(GRADUATED, 30_000), 0)


async def test_two_customers_are_settled_together_in_any_order(till: Till, pool: Pool) -> None:
    """Batches that name the same holds and volumes in opposite orders wait for each other and do not lock up."""
    other = await open_till(till.conn)
    pairs = [(await till.held(100, GRADUATED), await other.held(100, GRADUATED)) for _ in range(10)]

    async def work(turned: bool) -> None:
        async with pool.acquire() as conn:
            for mine, theirs in pairs:
                assert (
                    codes(await Till(conn, till.customer).settle(*((theirs, mine) if turned else (mine, theirs)))) == ["ok"] * 2
                )

    await asyncio.gather(work(True), work(False), work(True), work(False))
    for one in (till, other):
        assert (await one.balance())[0] == 100 * SECOND - 10 * 100 * SECOND // 1000
    wallet = wallet_id(other.customer, "live", "CNY")
    assert await till.conn.fetchval("SELECT count(*) FROM billing.balance WHERE wallet_id = $1", wallet) == 1
