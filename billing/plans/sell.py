"""Sell prepaid seconds. A sale is final at once; its document follows.

What a wallet pays is paid with it; what goes on account is owed with tax. Prices are whole minor units.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from billing.customers.model import Customer
from billing.customers.register import customer
from billing.errors import InsufficientFunds, PlanChangeRefused, UnknownAccount
from billing.kit.ids import derived_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue, lock_grant
from billing.ledger.model import SECONDS, credit_account_id, paid_account_id, wallet_id
from billing.plans import sql
from billing.plans.calendar import Period
from billing.plans.catalogue import find_pack
from billing.plans.model import MINOR, Payer, Sale, SaleLine
from billing.plans.sellers import Sellers
from billing.plans.sql import SaleRow
from billing.plans.tax import Party, Treatment, tax

_treatment = msgspec.json.Decoder(Treatment)
_line = msgspec.json.Decoder(SaleLine)


async def buy_pack(conn: Conn, sellers: Sellers, *, customer_id: UUID, pack: str, source: str, payer: Payer = "wallet") -> Sale:
    """Sells the pack once per `source`, in the caller's transaction; a replay returns what was sold.

    Raises UnknownCustomer, UnknownPlan, PlanChangeRefused for a pack in another currency, and InsufficientFunds.
    """
    buyer = await customer(conn, customer_id)
    sale_id = derived_id("sale", customer_id, source)
    if (sold := await find_sale(conn, sale_id)) is not None:
        return sold
    offer = await find_pack(conn, pack)
    expires_at = None
    if offer.valid_days:
        expires_at = (await sql.NOW.one(conn)).at + timedelta(days=offer.valid_days)
    line = SaleLine(
        kind="pack",
        title=offer.title,
        seconds_class=offer.seconds_class,
        quantity_ms=offer.duration_ms,
        price_micro=offer.price_micro,
    )
    return await sell(conn, sellers, buyer, line, sale_id=sale_id, payer=payer, currency=offer.currency, expires_at=expires_at)


async def sell(
    conn: Conn,
    sellers: Sellers,
    buyer: Customer,
    line: SaleLine,
    *,
    sale_id: UUID,
    payer: Payer,
    currency: str,
    expires_at: datetime | None,
    subscription_id: UUID | None = None,
    period: Period | None = None,
) -> Sale:
    """Opens the grant that `line` sells and makes `payer` pay for it. Raises InsufficientFunds before anything is written."""
    if currency != buyer.currency:
        raise PlanChangeRefused(f"{line.title} is sold in {currency}, the customer is billed in {buyer.currency}")
    treatment = treatment_of(sellers, buyer)
    taxed = tax([line.price_micro // MINOR], treatment)
    await _check_affords(conn, buyer, payer, line.title, taxed.total_minor * MINOR)
    terms = Issue(
        kind=f"{'pack' if line.kind == 'pack' else 'subscription'}_{'from_wallet' if payer == 'wallet' else 'on_account'}",
        source=str(sale_id),
        customer_id=buyer.id,
        asset=SECONDS + line.seconds_class,
        amount=line.quantity_ms,
        expires_at=expires_at,
        currency=currency,
        basis_micro=taxed.net_minor * MINOR,
        tax_micro=taxed.tax_minor * MINOR,
        accounts=paying(buyer.id, currency, payer),
    )
    (grant,) = await issue(conn, [terms])
    sale = Sale(
        sale_id, buyer.id, subscription_id, grant, None, payer, currency, treatment, line, taxed.net_minor, taxed.tax_minor,
        period,
    )  # fmt: skip
    await record(conn, sale)
    return sale


async def find_sale(conn: Conn, sale_id: UUID) -> Sale | None:
    row = await sql.SALE.maybe(conn, sale_id)
    return sale_of(row) if row else None


async def sale_of_grant(conn: Conn, grant_id: UUID) -> Sale | None:
    """The sale that opened the grant; None for seconds that were given or rolled over."""
    row = await sql.SALE_OF_GRANT.maybe(conn, grant_id)
    return sale_of(row) if row else None


async def sale_of_invoice(conn: Conn, customer_id: UUID, invoice_id: UUID) -> Sale | None:
    """The sale that an invoice is about; None for usage."""
    row = await sql.SALE_OF_INVOICE.maybe(conn, customer_id, invoice_id)
    return sale_of(row) if row else None


def sale_of(row: SaleRow) -> Sale:
    period = Period(row.period_starts_at, row.period_ends_at) if row.period_starts_at and row.period_ends_at else None
    return Sale(
        row.id, row.customer_id, row.subscription_id, row.grant_id, row.returns, row.payer, row.currency,
        _treatment.decode(row.treatment), _line.decode(row.line), row.net_minor, row.tax_minor, period,
    )  # fmt: skip


def treatment_of(sellers: Sellers, buyer: Customer) -> Treatment:
    """How a sale to the customer is taxed now. Raises UnknownAsset."""
    seller = sellers.of(buyer.currency)
    return seller.tax.treatment(seller.party, party_of(buyer))


def party_of(buyer: Customer) -> Party:
    return Party(buyer.legal_name, buyer.address, buyer.country, buyer.tax_id)


def paying(customer_id: UUID, currency: str, payer: Payer) -> dict[str, UUID]:
    wallet = wallet_id(customer_id, "live", currency)
    return {"wallet": paid_account_id(wallet)} if payer == "wallet" else {"credit": credit_account_id(wallet)}


async def free_micro(conn: Conn, buyer: Customer, payer: Payer) -> int:
    """What the customer's wallet, or the limit of its account, has left; locked."""
    (account,) = paying(buyer.id, buyer.currency, payer).values()
    try:
        return (await lock_grant(conn, account)).free
    except UnknownAccount:
        return 0


async def _check_affords(conn: Conn, buyer: Customer, payer: Payer, title: str, total_micro: int) -> None:
    """Raises InsufficientFunds with the figures."""
    free = await free_micro(conn, buyer, payer)
    if free < total_micro:
        costs, there = format_micro(total_micro, buyer.currency), format_micro(free, buyer.currency)
        raise InsufficientFunds(f"{title} costs {costs}; the {payer} has {there}")


async def record(conn: Conn, sale: Sale) -> None:
    period = sale.period
    await sql.ADD_SALE.run(
        conn, sale.id, sale.customer_id, sale.subscription_id, sale.grant_id, sale.returns, sale.payer, sale.currency,
        msgspec.json.encode(sale.treatment), msgspec.json.encode(sale.line), sale.net_minor, sale.tax_minor,
        period and period.starts_at, period and period.ends_at,
    )  # fmt: skip
