"""Invoices and credit notes, straight on the database."""

import asyncio
from pathlib import Path
from uuid import UUID

import click
import msgspec

from billing.errors import BooksDiffer
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice, JobOfLine
from billing.invoices.pdf import to_pdf
from billing.invoices.read import find_invoice, jobs_of
from billing.invoices.read import invoices as invoices_of
from billing.invoices.sales import invoice_sales
from billing.kit.ids import new_id
from billing.kit.money import format_micro
from billing.kit.query import Conn
from billing.plans.model import MINOR
from billing.stripe.note import open_invoices
from gateway.access.organizations import find_organization
from gateway.cli.access import organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.fleet.offers import load_sellers
from gateway.settings import Settings
from gateway.video import public_id

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

    async def found(conn: Conn) -> tuple[list[Invoice], dict[UUID, int]]:
        owner = await find_organization(conn, org)
        return await invoices_of(conn, owner.id, limit=1000), await open_invoices(conn, owner.id)

    with reported():
        listed, left_minor = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json([{**msgspec.to_builtins(one), "left_minor": left_minor.get(one.id, 0)} for one in listed])
            return
        rows = [(*_row(one), _money(left_minor[one.id], one) if one.id in left_minor else "", str(one.id)) for one in listed]
        write_table([("number", "issued", "total", "due", "left to pay", "id"), *rows])


def _show(found: list[Invoice], as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write_table([("number", "issued", "total", "due", "id"), *((*_row(one), str(one.id)) for one in found)])


def _row(one: Invoice) -> tuple[str, ...]:
    return one.number, one.issued_on.isoformat(), _money(one.total_minor, one), _money(one.due_minor, one)


@invoices.command("jobs")
@organization
@invoice_argument
@settings_flags("dsn")
@as_json
def list_jobs(org: str, invoice_id: UUID, settings: Settings, *, as_json: bool) -> None:
    """List the jobs that each line of an invoice charges, and what was refunded of them."""

    async def found(conn: Conn) -> tuple[Invoice, list[JobOfLine]]:
        owner = await find_organization(conn, org)
        return await find_invoice(conn, owner.id, invoice_id), await jobs_of(conn, owner.id, invoice_id)

    with reported():
        invoice, jobs = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json([{**msgspec.to_builtins(one), "job": public_id(one.subject_id)} for one in jobs])
            return
        rows = [
            (str(one.line), f"{one.ordered_at:%Y-%m-%d %H:%M:%S}", public_id(one.subject_id),
             format_micro(one.charged_micro, invoice.currency), format_micro(one.refunded_micro, invoice.currency))
            for one in jobs
        ]  # fmt: skip
        write_table([("line", "ordered", "job", "charged", "refunded"), *rows])


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
