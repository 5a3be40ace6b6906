"""Second packs: sold from the wallet or on account, used before money, expired to breakage."""

from uuid import UUID

import pytest

from billing.errors import InsufficientFunds, PlanChangeRefused, UnknownPlan
from billing.invoices.read import invoices
from billing.invoices.sales import invoice_sales
from billing.ledger.wallets import set_credit_limit
from billing.plans.give_back import return_pack
from billing.plans.model import Payer
from billing.plans.renew import expire_grants
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.plans.shop import YUAN, Shop

ANN, BEN = UUID(int=1), UUID(int=2)


async def test_a_pack_is_used_before_money_and_earned_as_it_is_used(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    sale = await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
    assert await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1") == sale
    assert (sale.net_minor, sale.tax_minor) == (900_00, 54_00)
    assert await shop.balances(ANN) == {"paid": 46 * YUAN, "pack": 1_000_000}
    usage = await shop.makes(ANN, 1_010_000)
    assert (usage.seconds_ms, usage.amount_micro) == (1_000_000, 16 * YUAN)
    assert await shop.balances(ANN) == {"paid": 30 * YUAN}
    assert (await shop.books())["revenue:usage"] == 916 * YUAN


async def test_what_is_left_of_a_pack_expires(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
    await shop.makes(ANN, 999_999)
    await clock.advance(days=365)
    assert await shop.does(expire_grants) == 1
    books = await shop.books()
    assert "liability:deferred" not in books and books["revenue:usage"] + books["revenue:breakage"] == 900 * YUAN


async def test_a_pack_on_account_is_owed_with_its_tax_within_the_limit(shop: Shop) -> None:
    await shop.opens(ANN)
    with pytest.raises(InsufficientFunds, match=r"the account has ¥0.00"):
        await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1", payer="account")
    await shop.sells(subscribe, customer_id=ANN, plan="enterprise", source="s1")
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1", payer="account")
    assert await shop.balances(ANN) == {"pack": 1_000_000}
    assert (await shop.books())["asset:receivable"] == -954 * YUAN


@pytest.mark.parametrize("payer", ["wallet", "account"])
async def test_what_is_left_of_a_pack_is_returned_for_what_it_was_sold_for(shop: Shop, clock: Clock, payer: Payer) -> None:
    await shop.opens(ANN, topped_up=1000 * YUAN)
    await shop.does(set_credit_limit, source="l", customer_id=ANN, book="live", asset="CNY", limit_micro=5000 * YUAN)
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1", payer=payer)
    await shop.sells(invoice_sales)
    (invoice,) = await shop.does(invoices, ANN)
    await shop.makes(ANN, 300_000)
    job = await shop.holds(ANN, 100_000)
    assert isinstance(job, UUID)
    terms = {"customer_id": ANN, "invoice_id": invoice.id, "source": "ticket 7"}
    back = await shop.does(return_pack, **terms)
    assert (back.line.quantity_ms, back.net_minor, back.tax_minor) == (600_000, 540_00, 32_40)
    assert await shop.does(return_pack, **terms) == back
    with pytest.raises(PlanChangeRefused, match="nothing is left of 1,000 seconds"):
        await shop.does(return_pack, **(terms | {"source": "again"}))
    await shop.settles(ANN, job, 50_000)
    assert (await shop.does(return_pack, **(terms | {"source": "the rest"}))).net_minor == 45_00
    await shop.sells(invoice_sales)
    notes = [one for one in await shop.does(invoices, ANN) if one.kind == "credit_note"]
    assert sorted((note.total_minor, note.corrects) for note in notes) == [(47_70, invoice.number), (572_40, invoice.number)]
    owed = (await shop.books()).get("asset:receivable", 0)
    assert owed == (0 if payer == "wallet" else -(954_00 - 572_40 - 47_70) * 10_000)


async def test_what_is_no_pack_of_the_customer_or_expired_is_not_returned(shop: Shop, clock: Clock) -> None:
    await shop.opens(ANN, topped_up=3000 * YUAN)
    await shop.opens(BEN)
    await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
    await shop.sells(subscribe, customer_id=ANN, plan="studio", source="s1")
    await shop.sells(invoice_sales)
    month, pack = sorted(await shop.does(invoices, ANN), key=lambda one: one.lines[0].kind, reverse=True)
    for customer, invoice in ((ANN, month.id), (BEN, pack.id), (ANN, UUID(int=7))):
        with pytest.raises(PlanChangeRefused, match="is not the invoice of a pack"):
            await shop.does(return_pack, customer_id=customer, invoice_id=invoice, source="x")
    await clock.advance(days=365)
    with pytest.raises(PlanChangeRefused, match="nothing is left"):
        await shop.does(return_pack, customer_id=ANN, invoice_id=pack.id, source="x")


async def test_bad_orders_write_nothing(shop: Shop) -> None:
    await shop.opens(ANN, topped_up=953 * YUAN)
    with pytest.raises(UnknownPlan, match="'gold'; there are: pack-1000"):
        await shop.sells(buy_pack, customer_id=ANN, pack="gold", source="p1")
    with pytest.raises(InsufficientFunds, match=r"costs ¥954.00; the wallet has ¥953.00"):
        await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
    assert await shop.balances(ANN) == {"paid": 953 * YUAN}


async def test_a_pack_in_another_currency_is_refused(shop: Shop) -> None:
    from billing.customers.register import open_customer

    await shop.does(open_customer, ANN, "USD")
    with pytest.raises(PlanChangeRefused, match="sold in CNY, the customer is billed in USD"):
        await shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source="p1")
