"""Invoices are charged or asked for by a calendar; at its end nothing new starts, and paid, all goes on."""

from datetime import UTC, datetime
from uuid import UUID

from billing.invoices.close import close_due
from billing.invoices.model import Invoice
from billing.plans.authorize import authorize
from billing.plans.catalogue import publish_catalogue
from billing.plans.change import cancel
from billing.plans.model import Catalogue
from billing.plans.subscribe import subscribe
from billing.stripe.collect import collect_due
from billing.stripe.recharge import set_paying
from tests.billing.invoices.test_story import CONTRACT
from tests.billing.plans.shop import CATALOGUE
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.billing.stripe.test_recharge import saves, told


async def owes(office: Office) -> Invoice:
    """A contract's first month, invoiced: 100 seconds and tax, due on 4 March."""
    await office.shop.does(publish_catalogue, Catalogue((*CATALOGUE.plans, CONTRACT), CATALOGUE.packs, CATALOGUE.budgets))
    await office.shop.sells(subscribe, customer_id=ANN, plan="film-house", source="c")
    await office.shop.makes(ANN, 100_000)
    await office.advance(days=32)
    (invoice,) = await office.shop.sells(close_due)
    assert isinstance(invoice, Invoice) and invoice.total_minor == 169_60
    return invoice


async def round_of_the_clerk(office: Office) -> None:
    while await office.shop.does(collect_due):
        pass
    await office.desk.poll()
    while await office.shop.does(collect_due):
        pass


async def blocked(office: Office) -> str:
    return (await authorize(office.shop.conn, [ANN]))[ANN].blocked


async def test_a_saved_card_is_charged_for_what_is_invoiced(office: Office) -> None:
    await saves(office, "pm_card_visa")
    await office.shop.does(set_paying, ANN, collects="charge", recharge=None, return_url=RETURN)
    invoice = await owes(office)
    await round_of_the_clerk(office)
    assert (await office.books()).get("asset:receivable", 0) == 0
    assert len(await told(office, "invoice.paid")) == 1
    assert await office.shop.conn.fetchval("SELECT state FROM billing.collection WHERE invoice_id = $1", invoice.id) == "settled"


async def test_an_invoice_that_is_sent_is_paid_on_a_page_of_its_own(office: Office) -> None:
    invoice = await owes(office)
    await round_of_the_clerk(office)
    await office.pays(0, purpose="invoice", subject=str(invoice.id))
    await office.hears(await office.events())
    await round_of_the_clerk(office)
    assert (await office.books()).get("asset:receivable", 0) == 0
    assert await office.balances() == {}


async def test_what_is_not_paid_is_reminded_and_at_the_end_nothing_new_starts(office: Office) -> None:
    invoice = await owes(office)
    running = await office.shop.holds(ANN, 10_000)
    assert isinstance(running, UUID)
    assert invoice.due_on.isoformat() == "2026-03-04"
    seen: dict[str, tuple[int, int, str]] = {}
    for day in range(1, 20):
        await office.clock.set(datetime(2026, 3, day, tzinfo=UTC))
        await round_of_the_clerk(office)
        seen[f"03-{day:02d}"] = (
            len(await told(office, "invoice.reminded")), len(await told(office, "invoice.overdue")), await blocked(office),
        )  # fmt: skip
    assert [(day, now) for day, now in seen.items() if day in ("03-01", "03-04", "03-05", "03-08", "03-12", "03-17", "03-18")] == [
        ("03-01", (1, 0, "")), ("03-04", (1, 0, "")), ("03-05", (1, 1, "")), ("03-08", (1, 2, "")), ("03-12", (1, 3, "")),
        ("03-17", (1, 3, "")), ("03-18", (1, 4, "plan_past_due")),
    ]  # fmt: skip
    assert invoice.number in (await told(office, "plan.past_due"))[0]
    # What runs is finished, and the month is invoiced all the same.
    await office.shop.settles(ANN, running, 10_000)
    # Paid: it goes on at once.
    await office.pays(0, purpose="invoice", subject=str(invoice.id))
    await office.reconciles()
    await round_of_the_clerk(office)
    assert await blocked(office) == ""


async def test_a_payment_that_is_taken_back_is_owed_again(office: Office) -> None:
    invoice = await owes(office)
    await office.pays(0, purpose="invoice", subject=str(invoice.id))
    await office.hears(await office.events())
    await round_of_the_clerk(office)
    (charge,) = (await office.control.dump())["tables"]["charge"]
    await office.control.dispute(charge)
    await office.hears(await office.events())
    assert (await office.books())["asset:receivable"] == -169_600_000
    await round_of_the_clerk(office)
    assert await office.shop.conn.fetchval("SELECT state FROM billing.collection") == "open"
    # The calendar goes on where it was: nothing is due yet, and it is not reminded early.
    assert await told(office, "invoice.reminded") == []
    await office.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await round_of_the_clerk(office)
    assert len(await told(office, "invoice.reminded")) == 1


async def test_what_is_paid_beyond_an_invoice_is_the_customers_own(office: Office) -> None:
    invoice = await owes(office)
    first = await office.pays(0, purpose="invoice", subject=str(invoice.id), source="one")
    second = await office.pays(0, purpose="invoice", subject=str(invoice.id), source="two")
    assert first.payment.id != second.payment.id
    await office.hears(await office.events())
    assert await office.balances() == {"paid": 169_600_000}
    assert (await office.books()).get("asset:receivable", 0) == 0


async def test_a_contract_that_is_past_due_is_invoiced_to_its_end(office: Office) -> None:
    await owes(office)
    running = await office.shop.holds(ANN, 10_000)
    assert isinstance(running, UUID)
    await office.clock.set(datetime(2026, 3, 20, tzinfo=UTC))
    await round_of_the_clerk(office)
    await office.shop.settles(ANN, running, 10_000)
    cancelled = await office.shop.does(cancel, ANN)
    assert (cancelled.state, await blocked(office)) == ("past_due", "plan_past_due")
    numbers: list[str] = []
    for month in (4, 5, 6):
        await office.clock.set(datetime(2026, month, 3, tzinfo=UTC))
        numbers += [one.number for one in await office.shop.sells(close_due) if isinstance(one, Invoice)]
    assert numbers == ["TLCN-2026-000002"]
    assert (await office.shop.conn.fetchval("SELECT state FROM billing.subscription")) == "ended"
