"""Wallets, straight on the database."""

import asyncio
from datetime import UTC, datetime

import click

from billing.kit.ids import new_id
from billing.kit.money import format_amount
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.ledger.model import WalletState
from billing.ledger.wallets import top_up, wallets
from gateway.access.organizations import find_organization
from gateway.cli.access import organization
from gateway.cli.command import amount_of, as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.settings import Settings


@click.group()
def wallet() -> None:
    """Top up and show wallets."""


@wallet.command("topup")
@organization
@click.option("--amount", required=True, help="In the organization's currency, such as 100 or 12.50.")
@click.option("--source", help="The payment's own id: the same one is booked once. Default: a new one.")
@settings_flags("dsn")
@as_json
def topup(org: str, amount: str, source: str | None, settings: Settings, *, as_json: bool) -> None:
    """Put money into an organization's wallet."""
    amount_micro = amount_of(amount)

    async def book(conn: Conn) -> list[WalletState]:
        owner = await find_organization(conn, org)
        await top_up(conn, source=source or str(new_id()), customer_id=owner.id, asset=owner.currency, amount_micro=amount_micro)
        return await wallets(conn, owner.id)

    with reported():
        _show_wallets(asyncio.run(in_transaction(settings, book)), as_json)


@wallet.command("promo")
@organization
@click.option("--amount", required=True, help="In the organization's currency, such as 100 or 12.50.")
@click.option("--expires", type=click.DateTime(), help="When what is left is taken back, in UTC. Default: never.")
@click.option("--source", help="The campaign's or the decision's own id: the same one is booked once. Default: a new one.")
@settings_flags("dsn")
@as_json
def promo(org: str, amount: str, expires: datetime | None, source: str | None, settings: Settings, *, as_json: bool) -> None:
    """Give an organization promotional credit, which is spent before its own money."""
    amount_micro = amount_of(amount)
    if expires and expires.replace(tzinfo=UTC) <= datetime.now(UTC):
        raise click.BadParameter(f"{expires:%Y-%m-%d %H:%M} UTC is over", param_hint="--expires")

    async def give(conn: Conn) -> list[WalletState]:
        owner = await find_organization(conn, org)
        grant = Issue(
            kind="promo",
            source=source or str(new_id()),
            customer_id=owner.id,
            asset=owner.currency,
            amount=amount_micro,
            expires_at=expires and expires.replace(tzinfo=UTC),
        )
        await issue(conn, [grant])
        return await wallets(conn, owner.id)

    with reported():
        _show_wallets(asyncio.run(in_transaction(settings, give)), as_json)


@wallet.command("show")
@organization
@settings_flags("dsn")
@as_json
def show(org: str, settings: Settings, *, as_json: bool) -> None:
    """Show what an organization has, and what of it is held."""

    async def found(conn: Conn) -> list[WalletState]:
        return await wallets(conn, (await find_organization(conn, org)).id)

    with reported():
        _show_wallets(asyncio.run(in_transaction(settings, found)), as_json)


def _show_wallets(found: list[WalletState], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (w.book, format_amount(w.posted, w.asset), format_amount(w.held, w.asset), format_amount(w.posted - w.held, w.asset))
        for w in found
    ]  # fmt: skip
    write_table([("book", "balance", "held", "free"), *rows])
