"""The ledger itself, straight on the database: prove it, read it, correct it."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import click

from billing.charges.model import Refund
from billing.charges.refund import refund
from billing.errors import BillingError
from billing.kit.money import format_amount
from billing.kit.query import Conn
from billing.ledger.chain import Head, head, seal
from billing.ledger.model import Finding, StatementLine
from billing.ledger.reverse import reverse
from billing.ledger.trial import trial_balance
from billing.ledger.verify import verify
from billing.ledger.wallets import lines_of
from gateway.cli.command import amount_of, as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot, in_transaction
from gateway.jobs.verify import verify_jobs
from gateway.quotas.verify import verify_quotas
from gateway.settings import Settings
from gateway.video import parse_public_id


@click.group()
def ledger() -> None:
    """Prove the ledger, read it, correct it."""


@ledger.command("verify")
@click.option("--head", "kept", help="A head that was printed before: does history still lead through it?")
@settings_flags("dsn")
@as_json
def prove(kept: str | None, settings: Settings, *, as_json: bool) -> None:
    """Check, in one snapshot, that every transfer sums to zero, balances equal entries, each job has its one hold and end,
    quotas count their jobs, and no row of history was changed, deleted, inserted or reordered since it was sealed.
    """
    try:
        through = Head.parse(kept) if kept else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error

    async def check(conn: Conn) -> list[Finding]:
        return [*await verify(conn, through), *await verify_jobs(conn), *await verify_quotas(conn)]

    with reported():
        findings = asyncio.run(in_snapshot(settings, check))
    if as_json:
        write_json({"sound": not findings, "findings": findings})
    else:
        click.echo("\n".join(f"{one.rule}: {one.subject}: {one.detail}" for one in findings) or "the ledger is sound")
    if findings:
        raise SystemExit(1)


@ledger.command("head")
@settings_flags("dsn")
def print_head(settings: Settings) -> None:
    """Seal what has been posted and print the head of the chain: sign it, publish it, and check it later."""

    async def sealed(conn: Conn) -> Head:
        while await seal(conn):
            pass
        return await head(conn)

    with reported():
        click.echo(asyncio.run(in_transaction(settings, sealed)))


@ledger.command("trial")
@click.option("--at", type=click.DateTime(), help="Only what was posted before, in UTC. Default: everything.")
@settings_flags("dsn")
@as_json
def trial(at: datetime | None, settings: Settings, *, as_json: bool) -> None:
    """Show the trial balance: what stands on every account of the chart; each asset of each book sums to zero."""
    with reported():
        found = asyncio.run(in_snapshot(settings, lambda conn: trial_balance(conn, at and at.replace(tzinfo=UTC))))
    if as_json:
        write_json(found)
        return
    rows = [
        (one.book, one.name, *(format_amount(amount, one.asset) for amount in (one.debit, one.credit, one.balance)))
        for one in found
    ]
    write_table([("book", "account", "debit", "credit", "balance"), *rows])


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
    subject, amount_micro = _subject(job_id), amount_of(amount)

    async def once(conn: Conn) -> list[StatementLine]:
        (outcome,) = await refund(conn, [Refund(id=subject, reason=reason, amount_micro=amount_micro)])
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
