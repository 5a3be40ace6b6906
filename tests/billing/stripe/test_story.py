"""Three months of a customer, from its first card to a credit note, and of a merchant: what they pay, use, owe and are owed, to
the last fen. At every step the whole adds up to what has entered and not left.
"""

from datetime import UTC, datetime

from billing.errors import InsufficientFunds
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.pdf import to_pdf
from billing.plans.catalogue import publish_catalogue
from billing.plans.events import events_after
from billing.plans.model import Catalogue
from billing.plans.subscribe import subscribe
from billing.shares.statements import settle_income
from billing.stripe.collect import collect_due
from billing.stripe.recharge import Recharge, note_recharges, set_paying
from billing.stripe.reconcile import reconcile
from tests.billing.invoices.test_story import CONTRACT
from tests.billing.plans.shop import CATALOGUE, YUAN
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.billing.stripe.payees import earns, onboards, owed, payouts
from tests.billing.stripe.test_recharge import saves


async def clerk(office: Office) -> list[Invoice]:
    """One round of everything periodic, and of Stripe's messages."""
    await office.hears([event for event in await office.events() if not await _known(office, event["id"])])
    made = await office.shop.sells(close_due)
    await office.shop.does(note_recharges)
    while await office.shop.does(collect_due):
        pass
    await office.desk.poll()
    await office.desk.paymaster.pay()
    await office.desk.read_account()
    await office.shop.does(collect_due)
    await conserved(office)
    return [one for one in made if isinstance(one, Invoice)]


async def conserved(office: Office) -> None:
    """What customers have and payees are owed, what we earned, owe and lost, and what others owe us: it is what has entered
    at Stripe and not left it.
    """
    rows = await office.shop.conn.fetch(
        "SELECT split_part(a.path, ':', 1) AS what, a.wallet_id IS NOT NULL AS owned, sum(e.amount)::bigint AS sum"
        " FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
        " WHERE a.asset = 'CNY' AND a.book = 'live' AND a.path NOT LIKE 'asset:clearing:%' GROUP BY 1, 2"
    )
    assert {row["what"] for row in rows if not row["owned"]} <= {"revenue", "contra", "liability", "expense", "asset"}
    stripe = await office.control.dump()
    ours = [one for one in stripe["tables"].get("balance_transaction", {}).values() if one["id"] not in stripe["owner"]]
    entered = sum(one["amount"] for one in ours if one["type"] in ("charge", "payment"))
    left = sum(one["fee"] for one in ours) - sum(one["amount"] for one in ours if one["type"] not in ("charge", "payment"))
    assert sum(row["sum"] for row in rows) == (entered - left) * 10_000


async def _known(office: Office, event: str) -> bool:
    return bool(await office.shop.conn.fetchval("SELECT count(*) FROM billing.stripe_event WHERE id = $1", event))


async def to(office: Office, moment: datetime) -> None:
    await office.control.tell("clock", to=int(moment.timestamp()))
    await office.clock.set(moment)


async def prepaid(office: Office) -> None:
    # January: a hundred yuan by card, a few videos, and what happens when it runs dry.
    await office.pays(100_00, source="first")
    await clerk(office)
    assert await office.balances() == {"paid": 100 * YUAN}
    await office.shop.makes(ANN, 60_000)
    assert await office.balances() == {"paid": 4 * YUAN}
    assert isinstance(await office.shop.holds(ANN, 10_000), InsufficientFunds)
    # It saves a card and lets the wallet be recharged.
    await saves(office, "pm_card_visa")
    recharge = Recharge(threshold_micro=20 * YUAN, amount_minor=200_00, month_max_minor=400_00)
    await office.shop.does(set_paying, ANN, collects="charge", recharge=recharge, return_url=RETURN)
    await clerk(office)
    assert await office.balances() == {"paid": 204 * YUAN}
    await office.shop.makes(ANN, 120_000)
    assert await office.balances() == {"paid": 12 * YUAN}
    await clerk(office)
    assert await office.balances() == {"paid": 212 * YUAN}


async def pays_a_merchant(office: Office) -> None:
    # An advertisement runs in a merchant's shop: all that the network pays for it is the merchant's, by transfer.
    await earns(office, "lamp-shop", 50 * YUAN)
    await onboards(office, "lamp-shop")
    await clerk(office)
    assert [one.state for one in await payouts(office, "lamp-shop")] == ["paid"] and await owed(office, "lamp-shop") == 0
    await office.shop.does(settle_income, "kads", "lamp-shop-1")
    await conserved(office)


async def on_account(office: Office) -> Invoice:
    # February: a contract. What is left in the wallet is used first, the rest is invoiced and charged.
    await to(office, datetime(2026, 1, 31, 16, tzinfo=UTC))
    await office.shop.does(set_paying, ANN, collects="charge", recharge=None, return_url=RETURN)
    await pays_a_merchant(office)
    await office.shop.does(publish_catalogue, Catalogue((*CATALOGUE.plans, CONTRACT), CATALOGUE.packs, CATALOGUE.budgets))
    await office.shop.sells(subscribe, customer_id=ANN, plan="film-house", source="contract")
    await office.shop.makes(ANN, 1_000_000)
    assert await office.balances() == {"credit": -1_388 * YUAN}
    await to(office, datetime(2026, 3, 1, 16, tzinfo=UTC))
    (invoice,) = await clerk(office)
    assert (invoice.net_minor, invoice.tax_minor, invoice.total_minor) == (1_388_00, 83_28, 1_471_28)
    assert to_pdf(invoice).startswith(b"%PDF")
    await clerk(office)
    assert (await office.books()).get("asset:receivable", 0) == 0
    return invoice


async def test_three_months_of_a_customer(office: Office) -> None:
    await prepaid(office)
    invoice = await on_account(office)
    # March: it disputes a line; we agree, and what it paid for that comes back.
    note = await office.shop.sells(
        credit, customer_id=ANN, invoice_id=invoice.id, credits=[Credit(1, 100_00)], reason="二月故障", source="line 1"
    )
    assert (note.total_minor, note.corrects) == (106_00, invoice.number)
    paid = await office.shop.conn.fetchval("SELECT id FROM billing.payment WHERE purpose = 'invoice'")
    back = await office.desk.refund(ANN, paid, amount_minor=note.total_minor, source=str(note.id))
    await clerk(office)
    assert back.state == "succeeded" and (await office.books()).get("asset:receivable", 0) == 0

    fees = sum((amount * 29 + 500) // 1000 + 200 for amount in (100_00, 200_00, 200_00, 1_471_28)) * 10_000
    used = 100 + 200 + 200 + 1_388
    assert await office.books() == {
        "asset:bank": -50 * YUAN,
        "asset:clearing": -(100 + 200 + 200 - 50) * YUAN - (1_471_28 - 106_00) * 10_000 + fees,
        "expense:stripe_fee": -fees,
        "revenue:usage": used * YUAN,
        "contra:refunds": -100 * YUAN,
        "liability:tax": (83_28 - 6_00) * 10_000,
    }
    found = await office.shop.does(reconcile, office.clock.at.date())
    assert found.raised == () and found.explained == () and all(one.unexplained_micro == 0 for one in found.accounts)
    kinds = [event.kind for event in await events_after(office.shop.conn, 0, customer_id=ANN)]
    assert kinds == [
        "payment.succeeded", "payment.succeeded", "payment.succeeded", "plan.started", "invoice.finalised", "payment.succeeded",
        "invoice.paid", "credit_note.finalised", "payment.refunded",
    ]  # fmt: skip
