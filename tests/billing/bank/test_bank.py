"""What finance books by hand: wires and write-offs of invoices, and suppliers' bills for compute."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from billing.bank.model import Settlement, SupplierBill
from billing.bank.read import settlements, supplier_bills
from billing.bank.receive import receive
from billing.bank.true_up import true_up
from billing.bank.undo import undo
from billing.bank.write_off import write_off
from billing.charges.accrue import accrue
from billing.charges.model import Attempt, Delivery
from billing.errors import (
    BillingError,
    BillRefused,
    InsufficientFunds,
    NotReversible,
    PaymentConflict,
    UnknownInvoice,
    UnknownSettlement,
    WireRefused,
    WriteOffRefused,
)
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.kit.ids import derived_id, new_id
from billing.kit.query import Pool
from billing.ledger.reverse import reverse
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.events import events_after
from billing.plans.read import subscriptions
from billing.plans.subscribe import subscribe
from billing.stripe.collect import collect_due
from billing.stripe.note import open_invoices, open_minor
from tests.billing.conftest import Clock
from tests.billing.invoices.test_close import CONTRACT
from tests.billing.plans.shop import YUAN, Shop, facts, terms

ANN, BEN = UUID(int=1), UUID(int=2)
MINOR = 10_000


@pytest.fixture
async def owed(shop: Shop, clock: Clock) -> Invoice:
    """16.00 and 6 %: 16.96 to pay."""
    await shop.does(publish_catalogue, read_catalogue(CONTRACT))
    await shop.opens(ANN)
    await shop.sells(subscribe, customer_id=ANN, plan="lite", source="s1")
    await shop.makes(ANN, 10_000)
    await clock.set(datetime(2026, 2, 2, tzinfo=UTC))
    (invoice,) = await shop.sells(close_due)
    assert isinstance(invoice, Invoice) and invoice.total_minor == 1696
    return invoice


async def wires(shop: Shop, invoice: Invoice, amount_minor: int, reference: str = "W1", **others: Any) -> Settlement:
    named: dict[str, Any] = {"customer_id": ANN, "currency": "CNY", **others}
    return await shop.does(receive, invoice_id=invoice.id, reference=reference, amount_minor=amount_minor, **named)


async def left(shop: Shop, invoice: Invoice) -> int:
    return await open_minor(shop.conn, ANN, invoice.id)


async def floor(shop: Shop) -> int:
    return await shop.conn.fetchval(
        "SELECT b.floor FROM billing.balance b JOIN billing.grant g USING (account_id) WHERE g.kind = 'credit'"
    )


async def told(shop: Shop) -> list[str]:
    return [one.kind for one in await events_after(shop.conn, 0, customer_id=ANN)][2:]


@pytest.mark.parametrize("amounts,to_pay,in_wallet", [
    ([1696], 0, 0),
    ([1000], 696, 0),
    ([1000, 696], 0, 0),
    ([1700], 0, 4),
    ([1000, 1000], 0, 304),
    ([1696, 1696], 0, 1696),
    ([1, 1694], 1, 0),
])  # fmt: skip
async def test_a_wire_pays_what_is_left_and_the_rest_is_the_customers(
    shop: Shop, owed: Invoice, amounts: list[int], to_pay: int, in_wallet: int
) -> None:
    limit = await floor(shop) - owed.total_minor * MINOR
    for nth, amount in enumerate(amounts):
        wire = await wires(shop, owed, amount, f"W{nth}")
        assert await wires(shop, owed, amount, f"W{nth}") == wire, "a replay"
    assert await left(shop, owed) == to_pay and await open_invoices(shop.conn, ANN) == {owed.id: to_pay}
    assert (await shop.balances(ANN)).get("paid", 0) == in_wallet * MINOR
    books = await shop.books()
    assert (books["asset:bank"], books.get("asset:receivable", 0)) == (-sum(amounts) * MINOR, -to_pay * MINOR)
    assert await floor(shop) == limit + to_pay * MINOR, "what is paid may be owed again"
    assert sum(one.amount_minor for one in await settlements(shop.conn, ANN)) == sum(amounts)
    paid = ["invoice.paid"] if not to_pay else []
    assert sorted(await told(shop)) == sorted([*["payment.succeeded"] * len(amounts), *paid])


@pytest.mark.parametrize("changed,error", [
    ({"currency": "USD"}, WireRefused),
    ({"amount_minor": 0}, WireRefused),
    ({"amount_minor": -5}, WireRefused),
    ({"reference": ""}, WireRefused),
    ({"customer_id": BEN}, UnknownInvoice),
    ({"amount_minor": 5}, PaymentConflict),
])  # fmt: skip
async def test_a_wire_that_fits_no_invoice_is_refused(
    shop: Shop, owed: Invoice, changed: dict[str, Any], error: type[BillingError]
) -> None:
    await wires(shop, owed, 7)
    before = await shop.books()
    asked: dict[str, Any] = {"customer_id": ANN, "currency": "CNY", "amount_minor": 7, "reference": "W1", **changed}
    with pytest.raises(error):
        await shop.does(receive, invoice_id=owed.id, **asked)
    assert await shop.books() == before


async def test_a_credit_note_is_not_paid(shop: Shop, owed: Invoice) -> None:
    note = await shop.sells(credit, customer_id=ANN, invoice_id=owed.id, credits=[Credit(1, 1000)], reason="outage", source="c")
    with pytest.raises(WireRefused, match="is a credit note"):
        await wires(shop, note, 5)
    wire = await wires(shop, owed, 1696)
    assert (wire.invoice_minor, wire.wallet_minor) == (636, 1060), "what was credited is not paid"


async def test_what_is_given_up_is_owed_no_more(shop: Shop, owed: Invoice) -> None:
    await wires(shop, owed, 1000)
    asked = {"customer_id": ANN, "invoice_id": owed.id, "reason": "insolvent"}
    with pytest.raises(WriteOffRefused, match="696 left to pay, not 697"):
        await shop.does(write_off, reference="D1", amount_minor=697, **asked)
    with pytest.raises(WriteOffRefused, match="say why"):
        await shop.does(write_off, reference="D1", **{**asked, "reason": ""})
    part = await shop.does(write_off, reference="D1", amount_minor=96, **asked)
    rest = await shop.does(write_off, reference="D2", **asked)
    assert (part.invoice_minor, rest.invoice_minor) == (96, 600)
    assert await shop.does(write_off, reference="D2", **asked) == rest
    with pytest.raises(PaymentConflict):
        await shop.does(write_off, reference="D2", **{**asked, "reason": "another"})
    with pytest.raises(WriteOffRefused, match="0 left to pay"):
        await shop.does(write_off, reference="D3", **asked)
    books = await shop.books()
    assert (books["expense:bad_debt"], books.get("asset:receivable")) == (-696 * MINOR, None)
    assert (await wires(shop, owed, 500, "late")).wallet_minor == 500


async def test_what_was_booked_by_mistake_is_owed_again(shop: Shop, owed: Invoice) -> None:
    before = await shop.books()
    wire = await wires(shop, owed, 1700)
    again = {"customer_id": ANN, "reason": "another customer's"}
    with pytest.raises(NotReversible):
        await shop.does(reverse, derived_id("bank_payment", str(wire.id)), "by hand")
    undone = await shop.does(undo, settlement_id=wire.id, **again)
    assert (undone.undone_because, await left(shop, owed)) == ("another customer's", 1696)
    assert await shop.does(undo, settlement_id=wire.id, **again) == undone
    assert await shop.books() == before and await shop.balances(ANN) == {}
    assert await wires(shop, owed, 1700) == undone, "the bank's id is used up"
    given_up = await shop.does(write_off, customer_id=ANN, invoice_id=owed.id, reference="D1", reason="insolvent")
    await shop.does(undo, settlement_id=given_up.id, **again)
    assert await left(shop, owed) == 1696 and await shop.books() == before
    with pytest.raises(UnknownSettlement):
        await shop.does(undo, customer_id=BEN, settlement_id=given_up.id, reason="x")


async def test_what_was_spent_of_a_wire_cannot_be_undone(shop: Shop, owed: Invoice) -> None:
    wire = await wires(shop, owed, 3296)
    await shop.makes(ANN, 1_000)
    with pytest.raises(InsufficientFunds):
        await shop.does(undo, customer_id=ANN, settlement_id=wire.id, reason="mistake")
    assert await left(shop, owed) == 0 and (await settlements(shop.conn, ANN))[0].undone_at is None


async def test_collecting_knows_of_wires_and_of_those_undone(shop: Shop, clock: Clock, owed: Invoice) -> None:
    async def states() -> tuple[str, str]:
        await shop.does(collect_due)
        (plan,) = await subscriptions(shop.conn, ANN)
        return await shop.conn.fetchval("SELECT state FROM billing.collection"), plan.state

    await clock.advance(days=60)
    assert await states() == ("past_due", "past_due")
    wire = await wires(shop, owed, 1696)
    assert await states() == ("settled", "active")
    await shop.does(undo, customer_id=ANN, settlement_id=wire.id, reason="mistake")
    assert await states() == ("past_due", "past_due")
    await shop.does(write_off, customer_id=ANN, invoice_id=owed.id, reference="D", reason="insolvent")
    assert await states() == ("settled", "active")


async def test_wires_write_offs_and_notes_at_once_settle_an_invoice_once(shop: Shop, owed: Invoice, pool: Pool) -> None:
    async def does(work: Any, **asked: Any) -> int:
        async with pool.acquire() as conn, conn.transaction():
            made = await work(conn, customer_id=ANN, invoice_id=owed.id, **asked)
            return made.total_minor if isinstance(made, Invoice) else made.invoice_minor

    async def notes(source: str) -> int:
        async with pool.acquire() as conn, conn.transaction():
            note = await credit(
                conn, shop.sellers, customer_id=ANN, invoice_id=owed.id, credits=[Credit(1, 1600)], reason="", source=source
            )
            return note.total_minor

    calls: list[Awaitable[int]] = [
        does(receive, reference="W1", currency="CNY", amount_minor=1696),
        does(receive, reference="W1", currency="CNY", amount_minor=1696),
        does(receive, reference="W2", currency="CNY", amount_minor=1696),
        does(write_off, reference="D1", reason="insolvent", amount_minor=1696),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, int | WriteOffRefused) for one in outcomes)
    assert await left(shop, owed) == 0
    assert sum(one.invoice_minor for one in await settlements(shop.conn, ANN)) == 1696
    assert await notes("c") == 1696 and await left(shop, owed) == -1696, "a note for what is paid: it is owed to the customer"


# -- suppliers' bills --------------------------------------------------------------------------------------------------
async def costs(shop: Shop, cost_micro: int, pool: str = "h100") -> None:
    attempt = Attempt(number=1, pool=pool, chip="H100", outcome="succeeded", run_ms=1, cost_micro=cost_micro)
    job = Delivery(
        id=new_id(), customer_id=ANN, book="live", terms=terms(), requested=1, delivered=1,
        facts=msgspec.structs.replace(facts(ANN), attempts=(attempt,)),
    )  # fmt: skip
    await shop.does(accrue, [job])


async def bills(shop: Shop, billed_micro: int, reference: str = "B1", **others: Any) -> SupplierBill:
    asked: dict[str, Any] = {"pool": "h100", "month": date(2026, 1, 1), "currency": "USD", **others}
    return await shop.does(true_up, reference=reference, billed_micro=billed_micro, **asked)


@pytest.mark.parametrize("billed,booked", [(9_000_000, 2_000_000), (7_000_000, 0), (0, -7_000_000)])
async def test_a_bill_corrects_a_month_once(shop: Shop, clock: Clock, billed: int, booked: int) -> None:
    await costs(shop, 4_000_000)
    await costs(shop, 50, pool="l40s")
    await clock.set(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))
    await costs(shop, 3_000_000)
    with pytest.raises(BillRefused, match="2026-01 is not over"):
        await bills(shop, billed)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    await costs(shop, 77)
    bill = await bills(shop, billed)
    assert (bill.accrued_micro, bill.booked_micro) == (7_000_000, booked)
    assert await bills(shop, billed) == bill
    books = await shop.books()
    assert books["liability:gpu_accrued"] == billed + 77 + 50 == -books["expense:cogs"]
    with pytest.raises(PaymentConflict):
        await bills(shop, billed + 1)
    later = await bills(shop, 8_000_000, "B2")
    assert later.booked_micro == 8_000_000 - billed, "only what the later total adds"
    assert (await shop.books())["liability:gpu_accrued"] == 8_000_000 + 77 + 50
    assert [one.reference for one in await supplier_bills(shop.conn)] == ["B1", "B2"]


@pytest.mark.parametrize("changed,why", [
    ({"pool": "h1000"}, "called 'h1000'"),
    ({"currency": "CNY"}, "is in CNY"),
    ({"month": date(2026, 1, 2)}, "first day"),
    ({"billed_micro": -1}, "below zero"),
    ({"reference": ""}, "a reference"),
])  # fmt: skip
async def test_a_bill_that_corrects_nothing_is_refused(shop: Shop, clock: Clock, changed: dict[str, Any], why: str) -> None:
    await costs(shop, 4_000_000)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    asked: dict[str, Any] = {"billed_micro": 5, **changed}
    with pytest.raises(BillRefused, match=why):
        await bills(shop, **asked)
    assert await supplier_bills(shop.conn) == []


async def test_two_bills_of_a_month_at_once_add_up(shop: Shop, clock: Clock, pool: Pool) -> None:
    await costs(shop, 4_000_000)
    await clock.set(datetime(2026, 2, 1, tzinfo=UTC))

    async def books(reference: str, billed_micro: int) -> None:
        async with pool.acquire() as conn, conn.transaction():
            await true_up(
                conn, pool="h100", month=date(2026, 1, 1), reference=reference, currency="USD", billed_micro=billed_micro
            )

    await asyncio.gather(books("B1", 5_000_000), books("B1", 5_000_000), books("B2", 5 * YUAN), books("B3", 5 * YUAN))
    assert (await shop.books())["liability:gpu_accrued"] == 5_000_000
