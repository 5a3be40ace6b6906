"""Payments, straight on the database and at Stripe; and the day's reconciliation."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from typing import TypeVar
from uuid import UUID

import click

from billing.kit.ids import new_id
from billing.kit.money import format_micro
from billing.kit.pool import open_pool, transact
from billing.kit.query import Conn, Pool
from billing.plans.model import MINOR
from billing.stripe.desk import Desk, open_desk
from billing.stripe.model import Payment, PaymentRefund
from billing.stripe.note import payments as payments_of
from billing.stripe.reconcile import Difference, Reconciliation
from billing.stripe.reconcile import reconcile as reconcile_day
from gateway.access.organizations import find_organization
from gateway.audit.model import Action
from gateway.audit.record import record
from gateway.cli.access import organization
from gateway.cli.command import amount_of, as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot, in_transaction, operator
from gateway.fleet.offers import load_sellers
from gateway.settings import Settings

Result = TypeVar("Result")


@click.group()
def payments() -> None:
    """List payments and pay them back."""


@payments.command("list")
@organization
@settings_flags("dsn")
@as_json
def list_all(org: str, settings: Settings, *, as_json: bool) -> None:
    """List an organization's payments, the newest first."""

    async def found(conn: Conn) -> list[Payment]:
        return await payments_of(conn, (await find_organization(conn, org)).id, limit=1000)

    with reported():
        listed = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json(listed)
            return
        rows = [
            (f"{one.created_at:%Y-%m-%d %H:%M}", one.purpose, format_micro(one.amount_micro, one.currency), one.state,
             one.failure or one.refused, str(one.id))
            for one in listed
        ]  # fmt: skip
        write_table([("asked for", "purpose", "amount", "state", "why", "id"), *rows])


@payments.command("refund")
@organization
@click.argument("payment_id", type=click.UUID)
@click.option("--amount", help="In the payment's currency, such as 100 or 12.50. Default: all that is left of it.")
@click.option("--reason", required=True, help="For those who ask later.")
@click.option("--source", help="The decision's own id: the same one is paid back once. Default: a new one.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def refund(
    org: str, payment_id: UUID, amount: str | None, reason: str, source: str | None, settings: Settings, *, as_json: bool
) -> None:
    """Pay money of a payment back to where it came from. What bought seconds comes back with them, not here."""
    amount_minor = amount_of(amount) // MINOR if amount else None

    async def give_back(desk: Desk, pool: Pool) -> PaymentRefund:
        owner = await transact(pool, lambda conn: find_organization(conn, org))
        made = await desk.refund(
            owner.id, payment_id, amount_minor=amount_minor, reason=reason, source=source or str(new_id())
        )  # fmt: skip
        after = {"payment": payment_id, "amount_minor": made.amount_minor, "reason": reason, "state": made.state}
        done = Action(org_id=owner.id, actor=operator(), name="payments.refund", object_id=str(made.id), after=after)
        await transact(pool, lambda conn: record(conn, done))
        return made

    with reported():
        made = asyncio.run(at_desk(settings, give_back))
        if as_json:
            write_json(made)
        else:
            click.echo(f"{made.id}: {made.amount_minor / 100:.2f} {made.state}")


@click.command()
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="A day in UTC. Default: yesterday.")
@settings_flags("dsn", "catalogue_dir")
@as_json
def reconcile(day: datetime | None, settings: Settings, *, as_json: bool) -> None:
    """Compare the ledger with Stripe's account and with what compute cost, for a day. Exit code 1 if something is to be done.

    Where a Stripe key is set, Stripe's account is read first.
    """
    chosen = (day or datetime.now(UTC) - timedelta(days=1)).date()

    async def read(desk: Desk, _: Pool) -> int:
        return await desk.read_account(datetime.combine(chosen, time(), UTC))

    with reported():
        if settings.stripe_api_key:
            asyncio.run(at_desk(settings, read))
        found = asyncio.run(in_snapshot(settings, lambda conn: reconcile_day(conn, chosen)))
        if as_json:
            write_json(found)
        else:
            _show(found)
    if found.raised or any(account.unexplained_micro for account in found.accounts):
        raise SystemExit(1)


def _show(found: Reconciliation) -> None:
    click.echo(f"{found.day}, UTC\n")
    rows = [
        (one.currency, *(format_micro(micro, one.currency) for micro in (
            one.paid_in_micro, one.given_back_micro, one.fees_micro, one.to_bank_micro, one.to_payees_micro,
            one.stripe_micro, one.ledger_micro, one.ledger_micro - one.stripe_micro, one.unexplained_micro)))
        for one in found.accounts
    ]  # fmt: skip
    write_table(
        [
            (
                "",
                "paid in",
                "given back",
                "fees",
                "to the bank",
                "to payees",
                "at Stripe",
                "in the ledger",
                "differ by",
                "unexplained",
            ),
            *rows,
        ]
    )
    for one in found.exchanges:
        given, got, off = format_micro(one.given_micro, one.currency), one.got_micro, one.residue_micro
        click.echo(f"exchanged {given} for {format_micro(got, one.into)}: off by {format_micro(off, one.into)} at the last rate")
    for one in found.wired:
        click.echo(f"by wire {format_micro(one.amount_micro, one.currency)}, in {one.wires} wires: compare it with the bank")
    for one in found.costs:
        ledger, usage = (format_micro(micro, one.cost_currency) for micro in (one.ledger_cost_micro, one.usage_cost_micro))
        click.echo(f"compute cost {ledger} by the ledger, {usage} by usage records")
    for title, differences in (("explained", found.explained), ("TO BE DONE", found.raised)):
        for one in differences:
            _show_difference(title, one)
    if not found.raised:
        click.echo("\nnothing is to be done")


def _show_difference(title: str, one: Difference) -> None:
    amount = format_micro(one.amount_micro, one.currency) if one.currency else ""
    click.echo(f"\n{title}: {one.say} ({one.count} × {one.reason}, {amount})")
    rows = [
        (
            f"{row.at:%Y-%m-%d %H:%M}",
            row.kind,
            format_micro(row.amount_micro, row.currency) if row.currency else "",
            row.id,
            row.about,
        )
        for row in one.rows
    ]
    write_table([("since", "what", "amount", "id", "about"), *rows])
    if one.count > len(one.rows):
        click.echo(f"… and {one.count - len(one.rows)} more")


async def at_desk(settings: Settings, work: Callable[[Desk, Pool], Awaitable[Result]]) -> Result:
    """Runs `work` at the desk. Raises SettingsError without a key."""
    settings.require("dsn", "stripe_api_key")
    key, sellers = settings.stripe_api_key.reveal(), load_sellers(settings.catalogue_dir)
    pool = await open_pool(settings.dsn.reveal(), name="tallylight-cli", size_min=1, size_max=2)
    async with pool, open_desk(pool, sellers, key, settings.stripe_url) as desk:
        assert desk is not None
        return await work(desk, pool)
