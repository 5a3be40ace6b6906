"""What finance books by hand: wires and write-offs of invoices, and suppliers' bills for compute."""

import asyncio
from datetime import date, datetime
from uuid import UUID

import click

from billing.bank.model import Settlement, SupplierBill
from billing.bank.read import settlements, supplier_bills
from billing.bank.receive import receive
from billing.bank.true_up import true_up
from billing.bank.undo import undo
from billing.bank.write_off import write_off
from billing.kit.money import SYMBOLS, format_micro
from billing.kit.query import Conn
from billing.plans.model import MINOR
from gateway.access.organizations import find_organization
from gateway.audit.model import PLATFORM
from gateway.cli.access import note, organization
from gateway.cli.command import amount_of, as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.cli.invoices import invoice_argument
from gateway.settings import Settings

currency_option = click.option("--currency", type=click.Choice(sorted(SYMBOLS)), required=True, help="As the bank has it.")


@click.group()
def bank() -> None:
    """Book wires, what is written off, and suppliers' bills."""


@bank.command("receive")
@organization
@invoice_argument
@click.option("--amount", required=True, help="What arrived, such as 100 or 12.50.")
@currency_option
@click.option("--reference", required=True, help="The bank's own id of the wire: the same one is booked once.")
@settings_flags("dsn")
@as_json
def receive_wire(
    org: str, invoice_id: UUID, amount: str, currency: str, reference: str, settings: Settings, *, as_json: bool
) -> None:
    """Book a wire to an invoice. What is more than is left to pay goes to the organization's wallet."""
    amount_minor = minor_of(amount)

    async def work(conn: Conn) -> Settlement:
        owner = await find_organization(conn, org)
        wire = await receive(
            conn, customer_id=owner.id, invoice_id=invoice_id, reference=reference, currency=currency, amount_minor=amount_minor
        )
        await note(conn, owner.id, "bank.receive", wire.id, after=wire)
        return wire

    with reported():
        _show([asyncio.run(in_transaction(settings, work))], as_json)


@bank.command("write-off")
@organization
@invoice_argument
@click.option("--amount", help="What is given up. Default: all that is left to pay.")
@click.option("--reason", required=True, help="For those who ask later.")
@click.option("--reference", required=True, help="The decision's own id: the same one is booked once.")
@settings_flags("dsn")
@as_json
def give_up(
    org: str, invoice_id: UUID, amount: str | None, reason: str, reference: str, settings: Settings, *, as_json: bool
) -> None:
    """Give up what will not be paid of an invoice."""
    amount_minor = minor_of(amount) if amount is not None else None

    async def work(conn: Conn) -> Settlement:
        owner = await find_organization(conn, org)
        given_up = await write_off(
            conn, customer_id=owner.id, invoice_id=invoice_id, reference=reference, reason=reason, amount_minor=amount_minor
        )
        await note(conn, owner.id, "bank.write_off", given_up.id, after=given_up)
        return given_up

    with reported():
        _show([asyncio.run(in_transaction(settings, work))], as_json)


@bank.command("undo")
@organization
@click.argument("settlement_id", type=click.UUID)
@click.option("--reason", required=True, help="Kept for ever beside it.")
@settings_flags("dsn")
@as_json
def take_back(org: str, settlement_id: UUID, reason: str, settings: Settings, *, as_json: bool) -> None:
    """Take a wire or a write-off back that should not have been booked; its invoice is owed again."""

    async def work(conn: Conn) -> Settlement:
        owner = await find_organization(conn, org)
        undone = await undo(conn, customer_id=owner.id, settlement_id=settlement_id, reason=reason)
        await note(conn, owner.id, "bank.undo", undone.id, after=undone)
        return undone

    with reported():
        _show([asyncio.run(in_transaction(settings, work))], as_json)


@bank.command("list")
@organization
@settings_flags("dsn")
@as_json
def list_all(org: str, settings: Settings, *, as_json: bool) -> None:
    """List an organization's wires and write-offs, the newest first."""

    async def found(conn: Conn) -> list[Settlement]:
        return await settlements(conn, (await find_organization(conn, org)).id)

    with reported():
        _show(asyncio.run(in_transaction(settings, found)), as_json)


@bank.command("bill")
@click.argument("pool")
@click.option("--month", type=click.DateTime(["%Y-%m"]), required=True, help="Such as 2026-11, in UTC; it must be over.")
@click.option("--amount", required=True, help="All that was billed for it so far, such as 1234.56.")
@currency_option
@click.option("--reference", required=True, help="The supplier's number of the bill: the same one is booked once.")
@settings_flags("dsn")
@as_json
def book_bill(
    pool: str, month: datetime, amount: str, currency: str, reference: str, settings: Settings, *, as_json: bool
) -> None:
    """Book by how much a supplier's bill for a pool's month differs from what its attempts were accrued at."""
    billed_micro = amount_of(amount)

    async def work(conn: Conn) -> SupplierBill:
        bill = await true_up(
            conn,
            pool=pool,
            month=date(month.year, month.month, 1),
            reference=reference,
            currency=currency,
            billed_micro=billed_micro,
        )
        await note(conn, PLATFORM, "bank.bill", bill.id, after=bill)
        return bill

    with reported():
        _show_bills([asyncio.run(in_transaction(settings, work))], as_json)


@bank.command("bills")
@settings_flags("dsn")
@as_json
def list_bills(settings: Settings, *, as_json: bool) -> None:
    """List suppliers' bills, the latest month first."""
    with reported():
        _show_bills(asyncio.run(in_transaction(settings, supplier_bills)), as_json)


def minor_of(amount: str) -> int:
    """Raises BadParameter for what cannot be wired: a fraction of a cent."""
    minor, rest = divmod(amount_of(amount), MINOR)
    if rest:
        raise click.BadParameter(f"{amount} has more than two decimals", param_hint="--amount")
    return minor


def _show(found: list[Settlement], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (
            f"{one.created_at:%Y-%m-%d %H:%M}", one.kind, one.reference,
            *(format_micro(minor * MINOR, one.currency) for minor in (one.amount_minor, one.invoice_minor, one.wallet_minor)),
            str(one.invoice_id), one.reason, f"undone: {one.undone_because}" if one.undone_because else "", str(one.id),
        )
        for one in found
    ]  # fmt: skip
    write_table([("booked", "kind", "reference", "amount", "to invoice", "to wallet", "invoice", "why", "state", "id"), *rows])


def _show_bills(found: list[SupplierBill], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (
            f"{one.month:%Y-%m}", one.pool, one.reference,
            *(format_micro(micro, one.currency) for micro in (one.billed_micro, one.accrued_micro, one.booked_micro)),
        )
        for one in found
    ]  # fmt: skip
    write_table([("month", "pool", "reference", "billed so far", "accrued", "booked"), *rows])
