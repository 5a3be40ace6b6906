"""Statements: opening, movements, closing – for any cut of the time, every one begins where the one before ended."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from billing.charges.model import Refund
from billing.errors import UnknownWallet
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.margin import compare
from billing.reports.model import MarginRow, StatementOf
from billing.reports.period import Period, month_of, zone_of
from billing.reports.statement import Statement, statement, statement_arguments
from tests.bench.history import write_history
from tests.billing.charges.book import open_usages
from tests.billing.charges.till import PACKED, SECOND, Till, open_till
from tests.billing.reports.test_plans import nodes

START = datetime(2026, 3, 1, tzinfo=UTC)
UTC_ZONE = zone_of("UTC")


async def read(till: Till, start: datetime, end: datetime, asset: str = "CNY") -> Statement:
    async with till.conn.transaction(readonly=True):
        return await statement(till.conn, StatementOf(till.customer, "live", asset, Period(start, end, UTC_ZONE)))


@pytest.mark.parametrize("seed", range(3))
async def test_statements_of_any_periods_join(database: Conn, seed: int) -> None:
    choose = random.Random(seed)
    clock = await open_usages(database)
    till = await open_till(database)
    for hour in range(30):
        await clock.turn(START + timedelta(hours=hour, minutes=choose.randrange(60)))
        match choose.randrange(4):
            case 0:
                await till.top_up(choose.randrange(1, SECOND))
            case 1:
                await till.grant("promo", choose.randrange(1, SECOND))
            case 2:
                await till.pack(choose.randrange(1, 3000), 100)
            case _:
                settled = await till.settled(choose.randrange(1, 3000), PACKED)
                if choose.random() < 0.5:
                    await till.refund(Refund(id=settled.id, reason="x"))
    cuts = sorted(START + timedelta(minutes=choose.randrange(32 * 60)) for _ in range(6))
    for asset in ("CNY", "SEC:hd"):
        balance = 0
        for start, end in zip([START - timedelta(days=9), *cuts], [*cuts, START + timedelta(days=9)], strict=True):
            if start == end:
                continue
            one = await read(till, start, end, asset)
            assert one.opening == balance
            assert all(start <= line.at < end for line in one.movements)
            for line in one.movements:
                balance += line.amount
                assert line.balance == balance
            assert one.closing == balance
        assert balance == (await till.balance(asset))[0]


@pytest.mark.parametrize(
    "zone,month,begins,ends",
    [
        ("Europe/Berlin", "2026-03", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("Europe/Berlin", "2026-10", "2026-09-30T22:00", "2026-10-31T23:00"),
        ("America/New_York", "2026-11", "2026-11-01T04:00", "2026-12-01T05:00"),
        ("America/Santiago", "2026-09", "2026-09-01T04:00", "2026-10-01T03:00"),
        ("Asia/Kathmandu", "2026-02", "2026-01-31T18:15", "2026-02-28T18:15"),
    ],
)
async def test_a_month_is_that_of_the_customers_clock(database: Conn, zone: str, month: str, begins: str, ends: str) -> None:
    first, last = (datetime.fromisoformat(f"{at}:00+00:00") for at in (begins, ends))
    clock = await open_usages(database)
    await clock.turn(first - timedelta(days=1))
    till = await open_till(database)
    before, _ = await till.balance("CNY")
    tick = timedelta(microseconds=1)
    for nth, at in enumerate((first - tick, first, last - tick, last)):
        await clock.turn(at)
        await till.top_up(10**nth)
    period = month_of(month, zone_of(zone))
    found = await read(till, period.start, period.end)
    amounts = [line.amount for line in found.movements]
    assert (found.opening - before, amounts, found.closing - before) == (1, [10, 100], 111)


async def test_a_statement_reads_what_was_booked_since_its_period_began(database: Conn) -> None:
    till = await open_till(database)
    await till.top_up(4_000_000_000)
    wallet = await database.fetchval("SELECT id FROM billing.wallet WHERE asset = 'CNY' AND customer_id = $1", till.customer)
    await write_history(database, [wallet], 4_000)
    await till.top_up(7)
    begin = await database.fetchval("SELECT booked_at FROM billing.entry ORDER BY booked_at DESC OFFSET 40 LIMIT 1")
    end = datetime(2100, 1, 1, tzinfo=UTC)
    arguments = statement_arguments(StatementOf(till.customer, "live", "CNY", Period(begin, end, UTC_ZONE)), None)
    text = await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.STATEMENT.sql}", *arguments)
    read_rows = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * node["Actual Loops"]
        for node in nodes(json.loads(text)[0]["Plan"])
        if node.get("Relation Name") in ("entry", "transfer", "account")
    )
    assert read_rows < 100
    found = await read(till, begin, end)
    assert found.closing == (await till.balance("CNY"))[0]
    assert found.opening + sum(line.amount for line in found.movements) == found.closing


async def test_a_movement_names_its_subject_and_what_it_drew_on(database: Conn) -> None:
    till = await open_till(database)
    await till.grant("promo", 3 * SECOND)
    settled = await till.settled(5000)
    found = await read(till, datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    drawn = [(line.grant, line.amount) for line in found.movements if line.subject == settled.id]
    assert drawn == [("paid", -2 * SECOND), ("promo", -3 * SECOND)]


async def test_a_wallet_that_is_not_there_has_no_statement(database: Conn) -> None:
    till = await open_till(database)
    with pytest.raises(UnknownWallet):
        await read(till, START, START + timedelta(days=1), "SEC:none")


def row(currency: str, revenue_micro: int, cost_micro: int) -> MarginRow:
    return MarginRow(START, START, "", None, "film", None, currency, "USD", 1, 0, 0, revenue_micro, cost_micro)


@pytest.mark.parametrize(
    "currency,revenue,cost,rate,expected",
    [
        ("USD", 1000, 400, None, (600, 6000)),
        ("USD", 0, 400, None, (-400, None)),
        ("USD", -10, 0, None, (-10, None)),
        ("CNY", 1000, 400, None, (None, None)),
        ("CNY", 1000, 3, 7_123_456, (978, 9780)),  # a cost of 21.37 is 22
        ("CNY", 10, 400, 7_000_000, (-2790, -2_790_000)),
    ],
)
def test_margins_round_against_us(
    currency: str, revenue: int, cost: int, rate: int | None, expected: tuple[int | None, int | None]
) -> None:
    (one,) = compare([row(currency, revenue, cost)], {} if rate is None else {("USD", "CNY"): rate})
    assert (one.margin_micro, one.margin_bp) == expected
