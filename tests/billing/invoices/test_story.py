"""Four months of a customer's life, to the last micro-unit: prepaid, a pack, a subscription, a contract with its invoices."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from billing.errors import InsufficientFunds
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.pdf import to_pdf
from billing.invoices.read import invoices
from billing.invoices.sales import invoice_sales
from billing.plans.catalogue import publish_catalogue
from billing.plans.change import change_plan
from billing.plans.events import events_after
from billing.plans.model import Catalogue, ContractPlan
from billing.plans.renew import expire_grants, renew_due
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import CATALOGUE, YUAN, Shop

ANN = UUID(int=1)
OWN_RATE = 1_200_000
CONTRACT = ContractPlan(
    name="film-house", title="Film house", currency="CNY", every=CATALOGUE.plans[0].every, credit_limit_micro=5_000 * YUAN
)


async def clerk(shop: Shop) -> list[Invoice]:
    """One round of every janitor, twice: the second finds nothing."""
    await shop.sells(renew_due)
    await shop.does(expire_grants)
    made = await shop.sells(close_due)
    await shop.sells(invoice_sales)
    assert await shop.sells(renew_due) + await shop.does(expire_grants) + await shop.sells(invoice_sales) == 0
    assert await shop.sells(close_due) == []
    return [invoice for invoice in made if isinstance(invoice, Invoice)]


async def pays_in_advance(shop: Shop, clock: Clock) -> None:
    # January: money in advance, by the second.
    assert isinstance(await shop.holds(ANN, 1_000), InsufficientFunds)
    await shop.tops_up(ANN, 3_000 * YUAN)
    await clock.set(datetime(2026, 1, 5, tzinfo=UTC))
    await shop.makes(ANN, 10_000)
    assert await shop.balances(ANN) == {"paid": 2_984 * YUAN}

    # A pack, of which some is used.
    await clock.set(datetime(2026, 1, 10, tzinfo=UTC))
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="pack")
    await shop.makes(ANN, 400_000)
    assert await clerk(shop) == []
    assert await shop.balances(ANN) == {"paid": 2_030 * YUAN, "pack": 600_000}


async def subscribes(shop: Shop, clock: Clock) -> None:
    # February: a subscription. What expires first is used first, so the pack waits.
    await clock.set(datetime(2026, 1, 31, 16, tzinfo=UTC))
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="studio")
    await shop.makes(ANN, 500_000)
    assert await clerk(shop) == []
    assert await shop.balances(ANN) == {"paid": 1_500 * YUAN, "pack": 600_000, "subscription": 100_000}

    # March: the unused seconds moved on, then all seconds are used and 200 of them more are paid with money.
    await clock.set(datetime(2026, 2, 28, 16, tzinfo=UTC))
    assert await clerk(shop) == []
    assert await shop.balances(ANN) == {"paid": 970 * YUAN, "pack": 600_000, "subscription": 700_000}
    settled = await shop.makes(ANN, 1_500_000)
    assert (settled.seconds_ms, settled.amount_micro) == (1_300_000, 320 * YUAN)
    assert await shop.balances(ANN) == {"paid": 650 * YUAN}


async def signs_a_contract(shop: Shop, clock: Clock) -> UUID:
    """Returns a job that was ordered in March and is not settled."""
    # In the middle of March: a contract with prices of its own. What is left in the wallet is used before credit.
    await clock.set(datetime(2026, 3, 15, tzinfo=UTC))
    await shop.sells(change_plan, customer_id=ANN, plan="film-house", source="contract")
    await shop.makes(ANN, 1_000_000, rate_micro=OWN_RATE)
    assert await shop.balances(ANN) == {"credit": -550 * YUAN}
    await clock.set(datetime(2026, 3, 31, 15, tzinfo=UTC))
    late = await shop.holds(ANN, 50_000, rate_micro=OWN_RATE)
    assert isinstance(late, UUID)
    return late


async def is_invoiced(shop: Shop, clock: Clock, late: UUID) -> None:
    # April: the first invoice, a day after the month; then what was ordered in March is settled.
    await clock.set(datetime(2026, 4, 1, 16, tzinfo=UTC))
    (march,) = await clerk(shop)
    assert (march.number, march.total_minor) == ("TLCN-2026-000004", 583_00)  # after a pack and two months of Studio
    assert [(line.quantity, line.price_micro, line.amount_micro, line.period) for line in march.lines] == [
        (458_333, OWN_RATE, 550 * YUAN, None)
    ]
    await shop.settles(ANN, late, 50_000, rate_micro=OWN_RATE)
    await shop.makes(ANN, 100_003, rate_micro=OWN_RATE)
    assert await shop.balances(ANN) == {"credit": -(60 * YUAN + 120_003_600)}

    # May: April's invoice shows the late job with its period; an outage is made good by a credit note.
    await clock.set(datetime(2026, 5, 2, tzinfo=UTC))
    (april,) = await clerk(shop)
    assert march.period is not None and april.period is not None
    assert april.period.starts_at == march.period.ends_at
    assert [(line.quantity, line.amount_micro, line.amount_minor, line.period) for line in april.lines] == [
        (100_003, 120_003_600, 120_00, None),
        (50_000, 60 * YUAN, 60_00, march.period),
    ]
    assert (april.net_minor, april.tax_minor, april.total_minor, april.rounding_micro) == (180_00, 10_80, 190_80, -3_600)
    note = await shop.sells(
        credit, customer_id=ANN, invoice_id=april.id, credits=[Credit(1, 20_00)], reason="四月故障", source="outage"
    )
    assert (note.total_minor, note.corrects) == (21_20, april.number)


async def test_the_life_of_a_customer(shop: Shop, clock: Clock) -> None:
    await shop.does(publish_catalogue, Catalogue((*CATALOGUE.plans, CONTRACT), CATALOGUE.packs, CATALOGUE.budgets))
    await shop.opens(ANN, language="zh")
    await pays_in_advance(shop, clock)
    await subscribes(shop, clock)
    await is_invoiced(shop, clock, await signs_a_contract(shop, clock))

    # Everything that was ever taken in, used, owed and earned.
    assert await shop.balances(ANN) == {}
    earned_by_use = 16 + 900 + 320 + 650 + 550
    assert await shop.books() == {
        "asset:clearing": -3_000 * YUAN,
        "asset:receivable": -(583_00 + 190_80 - 21_20) * 10_000,
        "revenue:usage": earned_by_use * YUAN + 60 * YUAN + 120_003_600,
        "revenue:subscription": 1_000 * YUAN,
        "contra:refunds": -20 * YUAN,
        "liability:tax": (54 + 30 + 30 + 33) * YUAN + 10_800_000 - 1_200_000,
        "expense:rounding": -3_600,
        "units:issued": -2_200_000,
        "units:used": 2_200_000,
    }
    documents = list(reversed(await invoices(shop.conn, ANN)))
    assert [(one.kind, one.number, one.total_minor, one.due_minor) for one in documents] == [
        ("invoice", "TLCN-2026-000001", 954_00, 0),
        ("invoice", "TLCN-2026-000002", 530_00, 0),
        ("invoice", "TLCN-2026-000003", 530_00, 0),
        ("invoice", "TLCN-2026-000004", 583_00, 583_00),
        ("invoice", "TLCN-2026-000005", 190_80, 190_80),
        ("credit_note", "TLCN-CN-2026-000001", 21_20, 21_20),
    ]
    assert all(to_pdf(one).startswith(b"%PDF") for one in documents)
    assert all(msgspec.json.decode(msgspec.json.encode(one), type=Invoice) == one for one in documents)
    assert [event.kind for event in await events_after(shop.conn, 0, customer_id=ANN)] == [
        "invoice.finalised", "plan.started", "invoice.finalised", "plan.renewed", "invoice.finalised", "plan.ended",
        "plan.started", "plan.changed", "invoice.finalised", "invoice.finalised", "credit_note.finalised",
    ]  # fmt: skip
