"""Credit notes: the only correction, line by line, never more than the invoice."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from billing.errors import CreditRefused, UnknownInvoice
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.read import find_invoice, invoices
from billing.invoices.sales import invoice_sales
from billing.kit.query import Pool
from billing.ledger.wallets import set_credit_limit
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.change import change_plan, preview_change
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop, sellers

ANN, BEN = UUID(int=1), UUID(int=2)


@pytest.fixture
async def owed(shop: Shop, clock: Clock) -> Invoice:
    """16.01 and 15.84 at 6 %: 33.76 in all."""
    await shop.opens(ANN)
    await shop.sells(subscribe, customer_id=ANN, plan="enterprise", source="s1")
    await shop.makes(ANN, 10_003)
    await shop.makes(ANN, 10_002, rate_micro=1_584_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    (invoice,) = await shop.sells(close_due)
    assert isinstance(invoice, Invoice)
    return invoice


async def gives(shop: Shop, invoice: Invoice, *amounts: tuple[int, int], source: str = "c1") -> Invoice:
    return await shop.sells(
        credit, customer_id=ANN, invoice_id=invoice.id, credits=[Credit(*one) for one in amounts], reason="outage", source=source
    )


async def test_a_credit_note_gives_back_lines_with_their_tax(shop: Shop, owed: Invoice) -> None:
    before = (await shop.books())["asset:receivable"]
    note = await gives(shop, owed, (1, 500))
    assert await gives(shop, owed, (1, 500)) == note
    assert (note.kind, note.number, note.corrects) == ("credit_note", "TLCN-CN-2026-000001", owed.number)
    assert (note.net_minor, note.tax_minor, note.total_minor) == (500, 30, 530)
    books = await shop.books()
    assert (books["contra:refunds"], books["asset:receivable"] - before) == (-5 * YUAN, 5_300_000)
    assert [found.number for found in await invoices(shop.conn, ANN)] == [note.number, owed.number]
    assert await invoices(shop.conn, ANN, after=note.id) == [owed]


async def test_credits_of_a_whole_invoice_are_the_whole_invoice(shop: Shop, owed: Invoice) -> None:
    parts = [(nth, line.amount_minor) for nth, line in enumerate(owed.lines, 1)]
    for nth, (line, amount) in enumerate(parts):
        await gives(shop, owed, (line, amount // 3), source=f"a{nth}")
        await gives(shop, owed, (line, amount - amount // 3), source=f"b{nth}")
    notes = [found for found in await invoices(shop.conn, ANN) if found.kind == "credit_note"]
    assert sum(note.total_minor for note in notes) == owed.total_minor
    assert "asset:receivable" not in await shop.books()


@pytest.mark.parametrize("amounts,why", [
    ([(1, 10**9)], "line 1 of TLCN-2026-000001 has"),
    ([(9, 1)], "has no line 9"),
    ([(0, 1)], "has no line 0"),
    ([(1, 0)], "has"),
    ([(1, -1)], "has"),
    ([(1, 1), (1, 1)], "each line once"),
    ([], "at least one line"),
])  # fmt: skip
async def test_more_than_the_invoice_is_refused(shop: Shop, owed: Invoice, amounts: list[tuple[int, int]], why: str) -> None:
    before = await shop.books()
    with pytest.raises(CreditRefused, match=why):
        await gives(shop, owed, *amounts)
    assert await shop.books() == before and await invoices(shop.conn, ANN) == [owed]


async def test_an_invoice_is_seen_by_its_customer_alone(shop: Shop, owed: Invoice) -> None:
    assert await find_invoice(shop.conn, ANN, owed.id) == owed
    with pytest.raises(UnknownInvoice):
        await find_invoice(shop.conn, BEN, owed.id)
    with pytest.raises(UnknownInvoice):
        await shop.sells(credit, customer_id=BEN, invoice_id=owed.id, credits=[Credit(1, 1)], reason="", source="c")


async def test_what_the_wallet_paid_is_invoiced_as_paid_and_not_credited(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
    assert await shop.sells(invoice_sales) == 1
    assert await shop.sells(invoice_sales) == 0
    (invoice,) = await invoices(shop.conn, ANN)
    assert (invoice.net_minor, invoice.tax_minor, invoice.paid_minor, invoice.due_minor) == (900_00, 54_00, 954_00, 0)
    with pytest.raises(CreditRefused, match="is not owed"):
        await gives(shop, invoice, (1, 100))


async def test_two_notes_cannot_give_back_the_same_line(shop: Shop, owed: Invoice, pool: Pool) -> None:
    whole = [Credit(1, owed.lines[0].amount_minor)]

    async def gives_whole(source: str) -> Invoice:
        async with pool.acquire() as conn, conn.transaction():
            return await credit(
                conn, shop.sellers, customer_id=ANN, invoice_id=owed.id, credits=whole, reason="outage", source=source
            )

    outcomes = await asyncio.gather(*(gives_whole(f"c{nth}") for nth in range(4)), return_exceptions=True)
    assert [isinstance(outcome, Invoice) for outcome in outcomes].count(True) == 1
    assert all(isinstance(outcome, Invoice | CreditRefused) for outcome in outcomes)


PLANS = "".join(
    f"""
        [[plans]]
        kind = "subscription"
        name = "{name}"
        title = "{name}"
        currency = "CNY"
        every = {{ unit = "month" }}
        fee_micro = 310_000_000
        seconds_class = "standard"
        included_ms = {included}
        payer = "account"
    """
    for name, included in (("one", 310_000), ("two", 620_000))
)


async def sold_on_account(shop: Shop) -> Invoice:
    """A month for 310.00 and tax, invoiced on its first day."""
    await shop.does(publish_catalogue, read_catalogue(PLANS))
    await shop.opens(ANN)
    await shop.does(set_credit_limit, source="l", customer_id=ANN, book="live", asset="CNY", limit_micro=5000 * YUAN)
    await shop.sells(subscribe, customer_id=ANN, plan="one", source="s1")
    await shop.sells(invoice_sales)
    (invoice,) = await shop.does(invoices, ANN)
    return invoice


@pytest.mark.parametrize("noted", [True, False])
async def test_what_was_returned_of_a_sale_is_not_credited_again(shop: Shop, clock: Clock, noted: bool) -> None:
    invoice = await sold_on_account(shop)
    await clock.set(datetime(2026, 1, 11, 16, tzinfo=UTC))
    await shop.sells(change_plan, customer_id=ANN, plan="two", source="c1")
    if noted:
        await shop.sells(invoice_sales)
    with pytest.raises(CreditRefused, match="line 1 of TLCN-2026-000001 has 11000 left, not 11001"):
        await gives(shop, invoice, (1, 11_001))
    note = await gives(shop, invoice, (1, 11_000))
    assert (note.net_minor, note.tax_minor) == (11_000, 660)


@pytest.mark.parametrize("credited,back", [(1_000, 20_000), (11_000, 20_000), (12_000, 19_000), (31_000, 0)])
@pytest.mark.parametrize("inclusive", [False, True])
async def test_what_was_credited_of_a_sale_does_not_come_back_with_its_seconds(
    shop: Shop, clock: Clock, credited: int, back: int, inclusive: bool
) -> None:
    shop.sellers = sellers(inclusive=inclusive)
    invoice = await sold_on_account(shop)
    note = await gives(shop, invoice, (1, credited))
    before = (await shop.books()).get("asset:receivable", 0)
    await clock.set(datetime(2026, 1, 11, 16, tzinfo=UTC))
    change = await shop.sells(preview_change, customer_id=ANN, plan="two")
    await shop.sells(change_plan, customer_id=ANN, plan="two", source="c1")
    await shop.sells(invoice_sales)
    assert change.returned[0].line.quantity_ms == 200_000, "the seconds go back in any case"
    assert await shop.balances(ANN) == {"subscription": 110_000 + 400_000}
    assert (await shop.books()).get("asset:receivable", 0) - before == change.returned_micro - change.charged_micro
    whole, given = invoice.total_minor, note.total_minor + change.returned_micro // 10_000
    if not inclusive:
        assert (change.returned_micro, given) == (back * 10_600, (credited + back) * 106 // 100)
    assert given <= whole and (given == whole) == (credited >= 11_000)
    with pytest.raises(CreditRefused):
        await gives(shop, invoice, (1, whole - given + 1), source="c2")


async def test_the_note_of_a_return_waits_for_the_invoice_of_its_sale(shop: Shop, clock: Clock, pool: Pool) -> None:
    await sold_on_account(shop)
    await clock.set(datetime(2026, 1, 11, 16, tzinfo=UTC))
    await shop.sells(change_plan, customer_id=ANN, plan="two", source="c1")
    await shop.sells(change_plan, customer_id=ANN, plan="one", source="c2")
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM billing.sale WHERE invoice_id IS NULL AND returns IS NULL FOR UPDATE")
        assert await shop.sells(invoice_sales) == 1, "that of the first sale"
    assert await shop.sells(invoice_sales) == 3
    documents = {found.number: found for found in await shop.does(invoices, ANN)}
    corrected = [documents[found.corrects] for found in documents.values() if found.kind == "credit_note"]
    assert sorted((found.kind, found.lines[0].title, found.lines[0].kind) for found in corrected) == [
        ("invoice", "one", "subscription"), ("invoice", "two", "rest"),
    ]  # fmt: skip
