"""Wallets and the ledger, straight on the database."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import click

from billing.errors import BillingError
from billing.kit.ids import new_id
from billing.kit.money import format_amount, parse_micro
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.ledger.model import Finding, RefundRequest, StatementLine, WalletState
from billing.ledger.refund import refund
from billing.ledger.reverse import reverse
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
    amount_micro = _amount(amount)

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
    amount_micro = _amount(amount)

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


def _amount(text: str) -> int:
    try:
        amount_micro = parse_micro(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    if amount_micro <= 0:
        raise click.BadParameter("must be more than zero", param_hint="--amount")
    return amount_micro


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
    subject = _subject(job_id)
    with reported():
        _show_lines(asyncio.run(in_transaction(settings, lambda conn: lines_of(conn, subject))), as_json)


@ledger.command("refund")
@click.argument("job_id")
@click.option("--amount", required=True, help="In the organization's currency; at most what the job was charged.")
@click.option("--reason", required=True, help="The id of a ticket or a finding: a job is refunded once for each.")
@settings_flags("dsn")
@as_json
def give_back(job_id: str, amount: str, reason: str, settings: Settings, *, as_json: bool) -> None:
    """Give part of a job's charge back to where it came from."""
    subject, amount_micro = _subject(job_id), _amount(amount)

    async def once(conn: Conn) -> list[StatementLine]:
        (outcome,) = await refund(conn, [RefundRequest(subject, 0, amount_micro, reason)])
        if isinstance(outcome, BillingError):
            raise outcome
        return await lines_of(conn, subject)

    with reported():
        _show_lines(asyncio.run(in_transaction(settings, once)), as_json)


@ledger.command("reverse")
@click.argument("transfer_id", type=click.UUID)
@click.option("--reason", required=True, help="Kept for ever beside the reversal.")
@settings_flags("dsn")
def undo(transfer_id: UUID, reason: str, settings: Settings) -> None:
    """Post the opposite of a transfer that should not have been; prints the reversal's id."""
    with reported():
        click.echo(asyncio.run(in_transaction(settings, lambda conn: reverse(conn, transfer_id, reason))))


def _subject(job_id: str) -> UUID:
    subject = parse_public_id(job_id)
    if subject is None:
        raise click.BadParameter("a job id looks like job_ and 32 hex digits", param_hint="JOB_ID")
    return subject


def _show_lines(found: list[StatementLine], as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write_table(table_of(found))


def table_of(found: list[StatementLine]) -> list[tuple[str, ...]]:
    return [
        ("time", "entry", "account", "amount"),
        *((line.at, line.kind, line.account, format_amount(line.amount, line.asset)) for line in found),
    ]
