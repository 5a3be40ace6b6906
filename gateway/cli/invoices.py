"""Invoices and credit notes, straight on the database."""

import asyncio
from pathlib import Path
from uuid import UUID

import click

from billing.errors import BooksDiffer
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.pdf import to_pdf
from billing.invoices.read import find_invoice
from billing.invoices.read import invoices as invoices_of
from billing.invoices.sales import invoice_sales
from billing.kit.ids import new_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.plans.model import MINOR
from gateway.access.organizations import find_organization
from gateway.cli.access import organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.fleet.offers import load_sellers
from gateway.settings import Settings

invoice_argument = click.argument("invoice_id", type=click.UUID)


@click.group()
def invoices() -> None:
    """List, show, print and correct invoices; close what is due."""


@invoices.command("list")
@organization
@settings_flags("dsn")
@as_json
def list_all(org: str, settings: Settings, *, as_json: bool) -> None:
    """List an organization's invoices and credit notes, the newest first."""

    async def found(conn: Conn) -> list[Invoice]:
        return await invoices_of(conn, (await find_organization(conn, org)).id, limit=1000)

    with reported():
        _show(asyncio.run(in_transaction(settings, found)), as_json)


def _show(found: list[Invoice], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (one.number, one.issued_on.isoformat(), _money(one.total_minor, one), _money(one.due_minor, one), str(one.id))
        for one in found
    ]
    write_table([("number", "issued", "total", "due", "id"), *rows])


def _money(minor: int, invoice: Invoice) -> str:
    return format_micro(minor * MINOR, invoice.currency)


@invoices.command("print")
@organization
@invoice_argument
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to; default: its number, .pdf.")
@settings_flags("dsn")
def print_one(org: str, invoice_id: UUID, output: Path | None, settings: Settings) -> None:
    """Write an invoice as PDF, with its XML inside."""

    async def found(conn: Conn) -> Invoice:
        return await find_invoice(conn, (await find_organization(conn, org)).id, invoice_id)

    with reported():
        invoice = asyncio.run(in_transaction(settings, found))
        path = output or Path(f"{invoice.number}.pdf")
        path.write_bytes(to_pdf(invoice))
        click.echo(str(path))


@invoices.command("credit")
@organization
@invoice_argument
@click.option("--line", "lines", type=(int, int), multiple=True, required=True, help="A line, from 1, and what of it in cents.")
@click.option("--reason", required=True, help="As it will stand on the credit note.")
@click.option("--source", help="An id of your own: the same one is credited once. Default: a new one.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def give_back(
    org: str,
    invoice_id: UUID,
    lines: list[tuple[int, int]],
    reason: str,
    source: str | None,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    """Issue a credit note for lines of an invoice."""

    async def work(conn: Conn) -> Invoice:
        owner, sellers = await find_organization(conn, org), load_sellers(settings.catalogue_dir)
        parts = [Credit(*line) for line in lines]
        return await credit(
            conn, sellers, customer_id=owner.id, invoice_id=invoice_id, credits=parts, reason=reason,
            source=source or str(new_id()),
        )  # fmt: skip

    with reported():
        _show([asyncio.run(in_transaction(settings, work))], as_json)


@invoices.command("close")
@settings_flags("dsn", "catalogue_dir")
@as_json
def close(settings: Settings, *, as_json: bool) -> None:
    """Do now what the clerk does: invoice contract periods whose grace is over, and sales."""

    async def work(conn: Conn) -> list[Invoice | BooksDiffer]:
        sellers = load_sellers(settings.catalogue_dir)
        outcomes = await close_due(conn, sellers)
        await invoice_sales(conn, sellers)
        return outcomes

    with reported():
        outcomes = asyncio.run(in_transaction(settings, work))
        _show([outcome for outcome in outcomes if isinstance(outcome, Invoice)], as_json)
        for outcome in outcomes:
            if isinstance(outcome, BooksDiffer):
                raise outcome
