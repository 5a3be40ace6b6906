"""The monthly close of a contract: lines are the ledger, rounded once; late usage keeps its period; nothing twice, nothing lost."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from billing.errors import BooksDiffer, InsufficientFunds
from billing.invoices.close import close_due
from billing.invoices.model import Invoice
from billing.kit.query import Pool
from billing.ledger.wallets import set_credit_limit
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.change import cancel
from billing.plans.events import events_after
from billing.plans.read import subscriptions
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop, sellers

ANN, BEN = UUID(int=1), UUID(int=2)
FEBRUARY, MARCH = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
CONTRACT = """
    [[plans]]
    kind = "contract"
    name = "lite"
    title = "Lite"
    currency = "CNY"
    every = { unit = "month" }
    credit_limit_micro = 1_000_000_000
    grace_hours = 24
"""


async def contract(shop: Shop, terms: str = "") -> None:
    await shop.does(publish_catalogue, read_catalogue(CONTRACT + terms))
    await shop.opens(ANN)
    await shop.sells(subscribe, customer_id=ANN, plan="lite", source="s1")


async def closes(shop: Shop) -> Invoice:
    (invoice,) = await shop.sells(close_due)
    assert isinstance(invoice, Invoice), invoice
    return invoice


async def test_lines_are_what_the_ledger_says(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    for duration_ms, rate in ((8_000, 1_600_000), (5_001, 1_600_000), (1_003, 333_333)):
        await shop.makes(ANN, duration_ms, rate_micro=rate)
    used = 12_800_000 + 8_001_600 + 334_332
    assert await shop.balances(ANN) == {"credit": -used}
    await clock.set(FEBRUARY)
    assert await shop.sells(close_due) == [], "late usage has a day to come in"
    await clock.advance(hours=16)
    invoice = await closes(shop)
    assert [(line.title, line.quantity, line.price_micro, line.amount_micro, line.amount_minor) for line in invoice.lines] == [
        ("testcard · 1080p · standard", 1_003, 333_333, 334_332, 34),
        ("testcard · 1080p · standard", 13_001, 1_600_000, 20_801_600, 2080),
    ]
    assert sum(line.amount_micro for line in invoice.lines) == used
    assert (invoice.net_minor, invoice.tax_minor, invoice.total_minor, invoice.rounding_micro) == (2114, 127, 2241, 4_068)
    assert (invoice.number, invoice.issued_on.isoformat()) == ("TLCN-2026-000001", "2026-02-02")
    assert await shop.balances(ANN) == {}
    assert await shop.books() == {
        "asset:receivable": -22_410_000, "revenue:usage": used, "liability:tax": 1_270_000, "expense:rounding": 4_068,
    }  # fmt: skip
    assert await shop.sells(close_due) == [], "February is not over"


async def test_a_second_contract_does_not_count_what_the_first_invoiced(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    await shop.makes(ANN, 8_000, rate_micro=1_000_000)
    await shop.does(cancel, ANN)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    assert (await closes(shop)).net_minor == 800
    assert [one.state for one in await subscriptions(shop.conn, ANN)] == ["ended"]
    await shop.sells(subscribe, customer_id=ANN, plan="lite", source="s2")
    await shop.makes(ANN, 3_000, rate_micro=1_000_000)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    assert (await closes(shop)).net_minor == 300


async def test_what_was_given_back_is_invoiced_although_it_is_held_again(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    settled = await shop.makes(ANN, 5, rate_micro=1_000_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    assert (await closes(shop)).net_minor == 1  # 0.005, rounded up
    await shop.gives_back(settled.id, 4_999)  # rounds to nothing
    job = await shop.holds(ANN, 999_994, rate_micro=1_000_000)  # all of the limit that is left, with what was given back
    rest = await shop.holds(ANN, 1, rate_micro=999_000)
    assert isinstance(job, UUID) and isinstance(rest, UUID)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    note = await closes(shop)
    assert (note.kind, note.total_minor, note.rounding_micro) == ("credit_note", 0, -4_999)
    assert isinstance(await shop.holds(ANN, 1, rate_micro=1_000), InsufficientFunds)
    await shop.settles(ANN, job, 1_000, rate_micro=1_000_000)
    await clock.set(datetime(2026, 4, 2, tzinfo=UTC))
    assert (await closes(shop)).net_minor == 100


@pytest.mark.parametrize("terms,kind,total", [("", "credit_note", 848), ("minimum_micro = 10_000_000", "invoice", 212)])
async def test_what_is_given_back_of_an_ended_contract_is_invoiced_although_much_is_owed(
    shop: Shop, clock: Clock, terms: str, kind: str, total: int
) -> None:
    await contract(shop, terms)
    settled = await shop.makes(ANN, 500_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    await closes(shop)
    await shop.does(cancel, ANN)
    await shop.gives_back(settled.id, 8 * YUAN)
    # The limit falls to nothing while 848.00 are owed.
    account = await shop.does(set_credit_limit, source="cut", customer_id=ANN, book="live", asset="CNY", limit_micro=0)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    note = await closes(shop)
    assert (note.kind, note.total_minor) == (kind, total)
    assert await shop.balances(ANN) == {}
    assert [one.state for one in await subscriptions(shop.conn, ANN)] == ["ended"]
    owed = 84800 + (total if kind == "invoice" else -total)
    assert await shop.conn.fetchval("SELECT floor FROM billing.balance WHERE account_id = $1", account) == owed * 10_000


async def test_usage_belongs_to_the_period_it_was_ordered_in(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    await clock.set(datetime(2026, 1, 31, 15, 59, tzinfo=UTC))
    in_time, late = await shop.holds(ANN, 10_000), await shop.holds(ANN, 20_000)
    assert isinstance(in_time, UUID) and isinstance(late, UUID)
    await clock.set(datetime(2026, 1, 31, 16, 0, tzinfo=UTC))
    february = await shop.holds(ANN, 40_000)
    assert isinstance(february, UUID)
    await shop.settles(ANN, in_time, 10_000)
    await shop.settles(ANN, february, 40_000)
    await clock.set(datetime(2026, 2, 1, 17, tzinfo=UTC))
    first = await closes(shop)
    assert [(line.quantity, line.period) for line in first.lines] == [(10_000, None)]
    await shop.settles(ANN, late, 20_000)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    second = await closes(shop)
    assert [(line.quantity, line.period) for line in second.lines] == [(40_000, None), (20_000, first.period)]
    assert await shop.balances(ANN) == {}


async def test_a_refund_after_the_invoice_stands_on_the_next(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    usage = await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    await closes(shop)
    await shop.gives_back(usage.id, 8 * YUAN)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    note = await closes(shop)
    assert (note.kind, note.number, note.total_minor) == ("credit_note", "TLCN-CN-2026-000001", 848)
    (line,) = note.lines
    assert (line.quantity, line.amount_micro) == (5_000, 8 * YUAN) and line.period is not None
    assert (await shop.books())["asset:receivable"] == -(1696 - 848) * 10_000


async def test_a_month_without_anything_has_no_invoice(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    for month in (2, 3, 4):
        await clock.set(datetime(2026, month, 2, tzinfo=UTC))
        assert await shop.sells(close_due) == []
    (found,) = await subscriptions(shop.conn, ANN)
    assert found.period is not None and clock.at in found.period


async def test_a_minimum_is_owed_in_part_for_part_of_a_month(shop: Shop, clock: Clock) -> None:
    await clock.set(datetime(2026, 1, 16, 4, tzinfo=UTC))
    await contract(shop, "minimum_micro = 100_000_000")
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    first = await closes(shop)
    assert [(line.kind, line.amount_micro) for line in first.lines] == [("usage", 16 * YUAN), ("minimum", 34 * YUAN)]
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    second = await closes(shop)
    assert [(line.kind, line.amount_micro) for line in second.lines] == [("minimum", 100 * YUAN)]
    assert second.lines[0].facts == {"least_micro": 100 * YUAN, "counted_micro": 0}
    assert (await shop.books())["revenue:usage"] == 150 * YUAN


async def test_a_commitment_falls_due_with_its_term(shop: Shop, clock: Clock) -> None:
    await contract(shop, "minimum_micro = 20_000_000\ncommitment_micro = 100_000_000\nterm = 3")
    await shop.makes(ANN, 25_000)
    kinds: list[list[tuple[str, int]]] = []
    for month in (2, 3, 4, 5):
        await clock.set(datetime(2026, month, 2, tzinfo=UTC))
        kinds.append([(line.kind, line.amount_micro // YUAN) for line in (await closes(shop)).lines])
    # 40 used and twice 20 at least leave 20 of the 100; then another term begins.
    assert kinds == [[("usage", 40)], [("minimum", 20)], [("minimum", 20), ("commitment", 20)], [("minimum", 20)]]


async def test_a_tax_inside_prices_lowers_what_is_earned(shop: Shop, clock: Clock) -> None:
    shop.sellers = sellers(inclusive=True)
    await contract(shop)
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    invoice = await closes(shop)
    assert (invoice.net_minor, invoice.tax_minor, invoice.total_minor) == (1509, 91, 1600)
    books = await shop.books()
    assert (books["asset:receivable"], books["revenue:usage"], books["liability:tax"]) == (-16 * YUAN, 15_090_000, 910_000)


async def test_the_limit_counts_what_is_invoiced(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    await shop.makes(ANN, 500_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    await closes(shop)
    # 848 of 1,000 are owed: 152 are left.
    assert isinstance(await shop.holds(ANN, 95_001), Exception)
    assert isinstance(await shop.holds(ANN, 95_000), UUID)


async def test_an_ended_contract_closes_until_nothing_is_open(shop: Shop, clock: Clock) -> None:
    await contract(shop, "minimum_micro = 10_000_000")
    job = await shop.holds(ANN, 10_000)
    assert isinstance(job, UUID)
    await shop.does(cancel, ANN)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    assert [line.kind for line in (await closes(shop)).lines] == ["minimum"]
    assert isinstance(await shop.holds(ANN, 1_000), Exception), "no more credit"
    await shop.settles(ANN, job, 10_000)
    await clock.set(datetime(2026, 3, 2, tzinfo=UTC))
    assert [line.kind for line in (await closes(shop)).lines] == ["usage"]
    (found,) = await subscriptions(shop.conn, ANN)
    assert (found.state, found.ends_at) == ("ended", datetime(2026, 1, 31, 16, tzinfo=UTC))


async def test_books_that_differ_invoice_nothing(shop: Shop, clock: Clock) -> None:
    await contract(shop)
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    async with shop.conn.transaction():
        await shop.conn.execute("UPDATE billing.balance SET posted = posted - 1 WHERE posted < 0")
    await shop.opens(BEN)
    await clock.set(datetime(2026, 1, 31, 12, tzinfo=UTC))
    await shop.sells(subscribe, customer_id=BEN, plan="lite", source="s1")
    await shop.makes(BEN, 1_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    other, refused = sorted(await shop.sells(close_due), key=lambda outcome: isinstance(outcome, BooksDiffer))
    assert isinstance(refused, BooksDiffer) and refused.detail == f"{ANN} owes 16000001 unbilled, the usage is 16000000"
    assert isinstance(other, Invoice) and other.customer_id == BEN, "one that is wrong does not hold up the others"
    async with shop.conn.transaction():
        await shop.conn.execute("UPDATE billing.balance SET posted = posted + 1 WHERE posted < 0")
    assert await shop.sells(close_due) == [], "it is not looked at again before the others had their turn"
    await clock.advance(hours=1)
    assert (await closes(shop)).number == "TLCN-2026-000002"


async def test_two_clerks_close_a_period_once(shop: Shop, clock: Clock, pool: Pool) -> None:
    await contract(shop)
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))

    async def clerk() -> list[Invoice | BooksDiffer]:
        async with pool.acquire() as conn, conn.transaction():
            return await close_due(conn, shop.sellers)

    made = await asyncio.gather(*(clerk() for _ in range(4)))
    assert [len(invoices) for invoices in made if invoices] == [1]
    (event,) = [event for event in await events_after(shop.conn, 0) if event.kind == "invoice.finalised"]
    assert bytes(event.data).startswith(b'{"id"') or b"TLCN-2026-000001" in bytes(event.data)


async def test_an_issued_invoice_cannot_be_touched(shop: Shop, clock: Clock) -> None:
    import asyncpg

    await contract(shop)
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    await closes(shop)
    for statement in (
        "UPDATE billing.invoice SET total_minor = 0",
        "DELETE FROM billing.invoice",
        "TRUNCATE billing.invoice CASCADE",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await shop.conn.execute(statement)
