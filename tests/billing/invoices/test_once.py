"""What was charged on account is given back once: by a refund of the job, or by a credit note for its line."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from billing.charges.model import Refund
from billing.charges.refund import refund
from billing.errors import BillingError, CreditRefused, NotReversible, RefundExceedsCapture
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.read import jobs_of
from billing.kit.ids import derived_id
from billing.kit.query import Pool
from billing.ledger.model import Refunded
from billing.ledger.reverse import reverse
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.invoices.test_close import CONTRACT
from tests.billing.plans.shop import YUAN, Shop, sellers

ANN = UUID(int=1)


async def lives(shop: Shop) -> None:
    await shop.does(publish_catalogue, read_catalogue(CONTRACT))
    await shop.opens(ANN)
    await shop.sells(subscribe, customer_id=ANN, plan="lite", source="s1")


async def makes(shop: Shop, *durations_ms: int) -> list[UUID]:
    """Jobs at 1.00 a second."""
    return [(await shop.makes(ANN, one, rate_micro=YUAN)).id for one in durations_ms]


async def closes(shop: Shop, clock: Clock, month: int = 2) -> Invoice:
    await clock.set(datetime(2026, month, 2, tzinfo=UTC))
    (invoice,) = await shop.sells(close_due)
    assert isinstance(invoice, Invoice), invoice
    return invoice


async def refunds(shop: Shop, job: UUID, amount_micro: int | None = None, reason: str = "r") -> int | type[BillingError]:
    """What came back, or why not."""
    (given,) = await shop.does(refund, [Refund(id=job, reason=reason, amount_micro=amount_micro)])
    return type(given) if isinstance(given, BillingError) else given.amount_micro


async def notes(shop: Shop, invoice: Invoice, amount_minor: int, *, line: int = 1, source: str = "c") -> int:
    """The note's net amount, or -1 where it is refused."""
    try:
        note = await shop.sells(
            credit, customer_id=ANN, invoice_id=invoice.id, credits=[Credit(line, amount_minor)], reason="outage", source=source
        )
    except CreditRefused:
        return -1
    return note.net_minor + (note.tax_minor if invoice.treatment.inclusive else 0)


@pytest.mark.parametrize("inclusive", [False, True])
async def test_what_was_refunded_is_not_credited(shop: Shop, clock: Clock, inclusive: bool) -> None:
    shop.sellers = sellers(inclusive=inclusive)
    await lives(shop)
    first, second = await makes(shop, 10_000, 6_000)
    invoice = await closes(shop, clock)
    assert await refunds(shop, first, 4 * YUAN) == 4 * YUAN
    behind = await jobs_of(shop.conn, ANN, invoice.id)
    assert [(one.line, one.subject_id, one.charged_micro, one.refunded_micro) for one in behind] == [
        (1, first, 10 * YUAN, 4 * YUAN), (1, second, 6 * YUAN, 0),
    ]  # fmt: skip
    assert await notes(shop, invoice, 1_201) == -1
    assert await notes(shop, invoice, 1_200) == 1_200
    assert await notes(shop, invoice, 1_200) == 1_200, "a replay"
    assert await notes(shop, invoice, 1, source="another") == -1
    assert await refunds(shop, second) == RefundExceedsCapture
    assert await refunds(shop, first, reason="another") == RefundExceedsCapture
    assert await refunds(shop, first, 4 * YUAN) == 4 * YUAN, "a replay"


async def test_what_was_credited_is_not_refunded(shop: Shop, clock: Clock) -> None:
    await lives(shop)
    first, second = await makes(shop, 10_000, 6_000)
    invoice = await closes(shop, clock)
    assert await notes(shop, invoice, 900) == 900
    assert await refunds(shop, first, 7 * YUAN + 1) == RefundExceedsCapture
    assert await refunds(shop, second) == 6 * YUAN
    assert await refunds(shop, first) == YUAN, "what is left of the line, though more is left of the job"
    assert await refunds(shop, first, reason="another") == RefundExceedsCapture
    assert await notes(shop, invoice, 1, source="another") == -1
    back = await closes(shop, clock, 3)
    assert (back.kind, back.net_minor) == ("credit_note", 700)
    books = await shop.books()
    assert (books["contra:refunds"], books.get("asset:receivable")) == (-16 * YUAN, None), "each fen once"


async def test_refunds_of_one_batch_share_what_is_left_of_their_line(shop: Shop, clock: Clock) -> None:
    await lives(shop)
    jobs = await makes(shop, 10_000, 6_000, 4_000)
    await notes(shop, await closes(shop, clock), 900)
    given = await shop.does(refund, [Refund(id=job, reason="r") for job in (*jobs, jobs[0])])
    assert [one.amount_micro if isinstance(one, Refunded) else type(one) for one in given] == [
        10 * YUAN, YUAN, RefundExceedsCapture, 10 * YUAN,
    ]  # fmt: skip


async def test_what_was_refunded_before_the_invoice_is_not_on_it(shop: Shop, clock: Clock) -> None:
    await lives(shop)
    first, second = await makes(shop, 10_000, 6_000)
    assert await refunds(shop, first, 9 * YUAN) == 9 * YUAN
    invoice = await closes(shop, clock)
    assert [line.amount_minor for line in invoice.lines] == [700]
    assert await notes(shop, invoice, 701) == -1
    assert await notes(shop, invoice, 200) == 200
    assert await refunds(shop, second) == 5 * YUAN
    assert await refunds(shop, first, reason="another") == RefundExceedsCapture


async def test_a_refund_on_a_later_document_leaves_the_charges_there_as_they_are(shop: Shop, clock: Clock) -> None:
    """A job of January that is settled in February stands on one line with what came back of another of January."""
    await lives(shop)
    (first,) = await makes(shop, 10_000)
    late = await shop.holds(ANN, 6_000, rate_micro=YUAN)
    assert isinstance(late, UUID)
    january = await closes(shop, clock)
    await shop.settles(ANN, late, 6_000, rate_micro=YUAN)
    assert await refunds(shop, first, 8 * YUAN) == 8 * YUAN
    february = await closes(shop, clock, 3)
    assert [(february.kind, line.amount_minor) for line in february.lines] == [("credit_note", 200)]
    assert await notes(shop, february, 1) == -1
    assert await refunds(shop, late) == 6 * YUAN
    assert await notes(shop, january, 201, source="another") == -1
    assert await notes(shop, january, 200) == 200


async def test_only_what_was_on_account_is_on_the_invoice(shop: Shop, clock: Clock) -> None:
    await lives(shop)
    await shop.tops_up(ANN, 4 * YUAN)
    (job,) = await makes(shop, 10_000)
    invoice = await closes(shop, clock)
    assert await notes(shop, invoice, 600) == 600
    assert await refunds(shop, job) == 4 * YUAN
    assert await shop.balances(ANN) == {"paid": 4 * YUAN}
    assert await refunds(shop, job, reason="another") == RefundExceedsCapture


@pytest.mark.parametrize("duration_ms,stated,left_micro", [(10_004, 1000, 4_000), (10_006, 1001, 0)])
async def test_what_rounding_left_or_added_is_given_back_once(
    shop: Shop, clock: Clock, duration_ms: int, stated: int, left_micro: int
) -> None:
    await lives(shop)
    (job,) = await makes(shop, duration_ms)
    invoice = await closes(shop, clock)
    assert await notes(shop, invoice, stated) == stated
    assert await refunds(shop, job) == (left_micro or RefundExceedsCapture)


@pytest.mark.parametrize("duration_ms", [10_004, 10_006])
async def test_nothing_is_credited_of_what_was_refunded_whole(shop: Shop, clock: Clock, duration_ms: int) -> None:
    await lives(shop)
    (job,) = await makes(shop, duration_ms)
    invoice = await closes(shop, clock)
    assert await refunds(shop, job) == duration_ms * 1_000
    assert await notes(shop, invoice, 1) == -1


async def test_neither_is_undone_by_a_reversal(shop: Shop, clock: Clock) -> None:
    await lives(shop)
    (job,) = await makes(shop, 10_000)
    invoice = await closes(shop, clock)
    assert await refunds(shop, job, 4 * YUAN) == 4 * YUAN
    assert await notes(shop, invoice, 600) == 600
    noted = derived_id("credit_note", str(derived_id("credit_note", invoice.id, "c")))
    for transfer in (derived_id("refund", job, "r"), noted):
        with pytest.raises(NotReversible, match=r"^not_reversible: (refund|credit_note)"):
            await shop.does(reverse, transfer, "to give it back again")


@pytest.mark.parametrize("nth", range(4))
async def test_of_a_refund_and_a_note_at_once_one_wins(shop: Shop, clock: Clock, pool: Pool, nth: int) -> None:
    await lives(shop)
    jobs = await makes(shop, 10_000, 6_000)
    invoice = await closes(shop, clock)

    async def note(source: str) -> int:
        async with pool.acquire() as conn, conn.transaction():
            made = await credit(
                conn, shop.sellers, customer_id=ANN, invoice_id=invoice.id, credits=[Credit(1, 900)], reason="", source=source
            )
            return made.net_minor * 10_000

    async def gives(job: UUID) -> int:
        async with pool.acquire() as conn, conn.transaction():
            (given,) = await refund(conn, [Refund(id=job, reason="r")])
            return given.amount_micro if isinstance(given, Refunded) else 0

    calls: list[Awaitable[int]] = [note("a"), gives(jobs[0]), note("b"), gives(jobs[1])]
    outcomes = await asyncio.gather(*calls[nth:], *calls[:nth], return_exceptions=True)
    given = [one for one in outcomes if isinstance(one, int)]
    assert all(isinstance(one, int | CreditRefused) for one in outcomes)
    assert len(given) >= 2 and 9 * YUAN <= sum(given) <= 16 * YUAN
    assert (await shop.books())["contra:refunds"] == -sum(given)
