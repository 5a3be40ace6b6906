"""Payees of an office: what they earn, and who they are at Stripe."""

from datetime import date

from billing.shares.model import IncomeRow, IncomeStatement, Party, Payee, Payout
from billing.shares.payees import agree, lock_payee, register_payee
from billing.shares.payouts import payouts_of
from billing.shares.statements import import_income
from billing.stripe.desk import Desk
from tests.billing.stripe.office import RETURN, Office

NEW_YEAR = date(2026, 1, 1)
THRESHOLD = 10_000_000


async def earns(office: Office, name: str, amount_micro: int, *, currency: str = "CNY", nth: int = 1) -> None:
    """All of an income is its own."""

    async def book(conn: object) -> None:
        found = await register_payee(office.shop.conn, name, name.title(), currency, THRESHOLD)
        await agree(office.shop.conn, name, "ad", currency, effective_on=NEW_YEAR, parties=[Party(found.id, 1_000_000)])
        row = IncomeRow(f"{name}-{nth}", name, NEW_YEAR, currency, amount_micro)
        await import_income(office.shop.conn, IncomeStatement("kads", f"{name}-{nth}", currency, amount_micro, (row,)))

    await office.shop.does(book)


async def onboards(office: Office, name: str, desk: Desk | None = None) -> str:
    """It has told Stripe everything; returns its account. We have not heard of it yet."""
    await (desk or office.desk).paymaster.onboard(name, "US", RETURN)
    account = (await payee(office, name)).destination
    assert account is not None
    await office.control.require(account)
    return account


async def payee(office: Office, name: str) -> Payee:
    return await lock_payee(office.shop.conn, name)


async def payouts(office: Office, name: str) -> list[Payout]:
    return await payouts_of(office.shop.conn, (await payee(office, name)).id)


async def owed(office: Office, name: str) -> int:
    found = await payee(office, name)
    return await office.shop.conn.fetchval(
        "SELECT b.posted FROM billing.balance b JOIN billing.wallet w ON w.id = b.wallet_id WHERE w.customer_id = $1", found.id
    )


async def fills(office: Office, amount_minor: int, source: str = "fill") -> None:
    """Stripe's balance, at once, by a customer's payment."""
    await office.pays(amount_minor, "pm_card_bypassPending", source=source)
    await office.hears([event for event in await office.events() if event["type"].startswith("payment_intent")])
