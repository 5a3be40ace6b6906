"""Wallets and the ledger, straight on the database."""

import asyncio

import click

from billing.kit.ids import new_id
from billing.kit.money import format_micro, parse_micro
from billing.kit.query import Conn
from billing.ledger.model import Finding, StatementLine, WalletState
from billing.ledger.verify import verify
from billing.ledger.wallets import lines_of, top_up, wallets
from gateway.access.organizations import find_organization
from gateway.cli.access import organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot, in_transaction
from gateway.jobs.verify import verify_jobs
from gateway.settings import Settings
from gateway.video import parse_public_id


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
    try:
        amount_micro = parse_micro(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    if amount_micro <= 0:
        raise click.BadParameter("must be more than zero", param_hint="--amount")

    async def book(conn: Conn) -> list[WalletState]:
        owner = await find_organization(conn, org)
        await top_up(conn, source=source or str(new_id()), customer_id=owner.id, asset=owner.currency, amount_micro=amount_micro)
        return await wallets(conn, owner.id)

    with reported():
        _show_wallets(asyncio.run(in_transaction(settings, book)), as_json)


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
        (w.book, format_micro(w.posted_micro, w.asset), format_micro(w.held_micro, w.asset),
         format_micro(w.posted_micro - w.held_micro, w.asset))
        for w in found
    ]  # fmt: skip
    write_table([("book", "balance", "held", "free"), *rows])


@click.group()
def ledger() -> None:
    """Prove the ledger; show the entries of a job."""


@ledger.command("verify")
@settings_flags("dsn")
@as_json
def prove(settings: Settings, *, as_json: bool) -> None:
    """Check, in one snapshot, that every transfer sums to zero, balances equal entries, and each job has its one hold and end."""

    async def check(conn: Conn) -> list[Finding]:
        return [*await verify(conn), *await verify_jobs(conn)]

    with reported():
        findings = asyncio.run(in_snapshot(settings, check))
    if as_json:
        write_json({"sound": not findings, "findings": findings})
    else:
        click.echo("\n".join(f"{one.rule}: {one.subject}: {one.detail}" for one in findings) or "the ledger is sound")
    if findings:
        raise SystemExit(1)


@ledger.command("lines")
@click.argument("job_id")
@settings_flags("dsn")
@as_json
def lines(job_id: str, settings: Settings, *, as_json: bool) -> None:
    """Show the entries that a job caused."""
    subject = parse_public_id(job_id)
    if subject is None:
        raise click.BadParameter("a job id looks like job_ and 32 hex digits", param_hint="JOB_ID")
    with reported():
        found = asyncio.run(in_transaction(settings, lambda conn: lines_of(conn, subject)))
        if as_json:
            write_json(found)
        else:
            write_table(table_of(found))


def table_of(found: list[StatementLine]) -> list[tuple[str, ...]]:
    return [
        ("time", "entry", "account", "amount"),
        *((line.at, line.kind, line.account, format_micro(line.amount_micro, line.asset)) for line in found),
    ]
