"""Shared income, straight on the database: payees, agreements, statements, pools and payouts."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import click
from msgspec import UNSET

from billing.errors import AgreementInvalid
from billing.kit.money import SYMBOLS, format_micro, parse_micro
from billing.kit.query import Conn, Pool
from billing.reports.period import month_of, zone_of
from billing.shares.files import income_of_csv, views_of_csv
from billing.shares.model import Agreement, IncomeKind, Party, Payee, PayeeChange, Payout, ViewPool
from billing.shares.payees import agree, payee, payees, register_payee, set_payee
from billing.shares.payouts import check_by_hand, make_payouts, mark_failed, mark_paid, mark_sent, open_payouts, payouts_of
from billing.shares.read import PayeeStatement, payee_statement
from billing.shares.statements import Imported, import_income, settle_income
from billing.shares.views import count_views, open_pool, pools
from billing.stripe.desk import Desk
from gateway.access.organizations import find_organization
from gateway.cli.command import amount_of, as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot, in_transaction
from gateway.cli.payments import at_desk
from gateway.settings import Settings

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_currency = click.option("--currency", type=click.Choice(sorted(SYMBOLS)), default="CNY", show_default=True)
_day = click.DateTime(["%Y-%m-%d"])


@click.group()
def shares() -> None:
    """Share income with merchants and producers by agreement, and with creators by views; pay it out."""


@shares.command("payee")
@click.argument("reference")
@click.option("--name", help="Registers the payee. Without it, only what is given is changed.")
@_currency
@click.option("--threshold", help="Pay out from this amount on. Default for a new payee: 100.")
@click.option("--verified/--unverified", default=None, help="Whether it was checked who the payee is; only then money leaves.")
@click.option("--destination", help="Where an operator pays it by hand. For transfers at Stripe: `connect`.")
@click.option("--hold", help="Why nothing is sent to it from now on, whatever it is owed.")
@click.option("--release", is_flag=True, help="No longer held.")
@click.option("--org", help="The organization that reads its statements, by id or name.")
@settings_flags("dsn")
@as_json
def change_payee(
    reference: str, name: str | None, currency: str, threshold: str | None, destination: str | None, hold: str | None,
    org: str | None, settings: Settings, *, verified: bool | None, release: bool, as_json: bool,
) -> None:  # fmt: skip
    """Register a payee, or change what its payouts need."""
    if hold and release:
        raise click.UsageError("say --hold or --release")
    threshold_micro = None if threshold is None else amount_of(threshold)

    async def change(conn: Conn) -> Payee:
        if name is not None:
            await register_payee(conn, reference, name, currency, threshold_micro or parse_micro("100"))
        wanted = PayeeChange(
            threshold_micro=UNSET if threshold_micro is None else threshold_micro,
            verified=UNSET if verified is None else verified,
            destination=destination or UNSET,
            held=hold or (None if release else UNSET),
            customer_id=(await find_organization(conn, org)).id if org else UNSET,
        )
        return await set_payee(conn, reference, wanted)

    with reported():
        _show_payees([asyncio.run(in_transaction(settings, change))], as_json)


@shares.command("connect")
@click.argument("reference")
@click.option("--country", required=True, help="Where the payee is, such as US.")
@click.option("--return-url", required=True, help="Where it comes back to from Stripe's page.")
@settings_flags("dsn", "catalogue_dir")
def connect_payee(reference: str, country: str, return_url: str, settings: Settings) -> None:
    """Print the address of a page of Stripe's on which the payee says who it is; then it is paid by transfers.

    The page is good for some minutes: send it at once, or ask for it again.
    """

    async def onboard(desk: Desk, _: Pool) -> str:
        return await desk.paymaster.onboard(reference, country, return_url)

    with reported():
        click.echo(asyncio.run(at_desk(settings, onboard)))


@shares.command("payees")
@settings_flags("dsn")
@as_json
def list_payees(settings: Settings, *, as_json: bool) -> None:
    """List the payees."""
    with reported():
        _show_payees(asyncio.run(in_transaction(settings, payees)), as_json)


@shares.command("agree")
@click.argument("subject")
@click.option("--kind", type=click.Choice(["ad", "drama"]), required=True, help="What kind of income it is.")
@_currency
@click.option("--from", "effective_on", type=_day, required=True, help="The first day it is in force.")
@click.option(
    "--party", "parties", type=(str, str), multiple=True, metavar="PAYEE PERCENT", help="May be repeated; the rest is ours."
)
@click.option("--end", is_flag=True, help="No longer shared from that day on.")
@settings_flags("dsn")
@as_json
def put_agreement(
    subject: str, kind: IncomeKind, currency: str, effective_on: datetime, parties: tuple[tuple[str, str], ...],
    settings: Settings, *, end: bool, as_json: bool,
) -> None:  # fmt: skip
    """Put an agreement about SUBJECT's income in force. It is never changed; a later one follows it."""
    if end == bool(parties):
        raise click.UsageError("say who takes part with --party, or --end")

    async def put(conn: Conn) -> Agreement:
        agreed = None if end else [Party((await payee(conn, one)).id, _ppm(percent)) for one, percent in parties]
        return await agree(conn, subject, kind, currency, effective_on=effective_on.date(), parties=agreed)

    with reported():
        done = asyncio.run(in_transaction(settings, put))
    if as_json:
        write_json(done)
    else:
        click.echo(f"{subject}: in force from {done.effective_on}")


@shares.command("import")
@_file
@click.option("--network", required=True, help="Whose statement it is: small letters, digits and dashes.")
@click.option("--reference", required=True, help="The network's name of it: the same one is booked once.")
@_currency
@settings_flags("dsn")
@as_json
def import_file(file: Path, network: str, reference: str, currency: str, settings: Settings, *, as_json: bool) -> None:
    """Book a statement of income, all of it or nothing: id,subject,occurred_on,currency,amount,takes_back, then `total`."""
    with reported():
        text = file.read_text(encoding="utf-8")
        statement = income_of_csv(text, network=network, reference=reference, currency=currency)
        done: Imported = asyncio.run(in_transaction(settings, lambda conn: import_income(conn, statement)))
    if as_json:
        write_json(done)
    else:
        total = format_micro(done.total_micro, currency)
        click.echo(f"{done.rows} rows, {total}{'' if done.new else ', booked before'}")


@shares.command("settled")
@click.option("--network", required=True)
@click.option("--reference", required=True)
@settings_flags("dsn")
def settled(network: str, reference: str, settings: Settings) -> None:
    """The network has paid a statement into our bank."""
    with reported():
        asyncio.run(in_transaction(settings, lambda conn: settle_income(conn, network, reference)))


@shares.command("pool")
@click.argument("name")
@click.option("--from", "starts_on", type=_day, required=True, help="The first day of the period.")
@click.option("--to", "ends_on", type=_day, required=True, help="The day after the last.")
@click.option("--amount", required=True, help="What is shared.")
@_currency
@click.option(
    "--fraud-days", type=click.IntRange(0, 365), default=14, show_default=True, help="Shared this long after the period."
)
@settings_flags("dsn")
@as_json
def put_pool(
    name: str, starts_on: datetime, ends_on: datetime, amount: str, currency: str, fraud_days: int, settings: Settings, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Open a pool that creators share by their views of a period."""
    closes_at = ends_on.replace(tzinfo=UTC) + timedelta(days=fraud_days)

    async def put(conn: Conn) -> list[ViewPool]:
        await open_pool(
            conn, name, starts_on.date(), ends_on.date(), currency=currency, pool_micro=amount_of(amount), closes_at=closes_at
        )
        return await pools(conn)

    with reported():
        found = asyncio.run(in_transaction(settings, put))
    if as_json:
        write_json(found)
    else:
        rows = [
            (one.name, str(one.starts_on), format_micro(one.pool_micro, one.currency), f"{one.closes_at:%Y-%m-%d}",
             "shared" if one.closed_at else "open")
            for one in found
        ]  # fmt: skip
        write_table([("pool", "from", "amount", "closes", "state"), *rows])


@shares.command("views")
@_file
@click.option("--pool", "name", required=True)
@click.option("--from", "starts_on", type=_day, required=True, help="The first day of the pool's period.")
@settings_flags("dsn")
def import_views(file: Path, name: str, starts_on: datetime, settings: Settings) -> None:
    """Take a whole count of views in: creator,views, then `total`. It replaces the count before it."""
    with reported():
        rows, total = views_of_csv(file.read_text(encoding="utf-8"))

        async def count(conn: Conn) -> int:
            return (await count_views(conn, name, starts_on.date(), rows, total))[1]

        click.echo(f"revision {asyncio.run(in_transaction(settings, count))}: {len(rows)} creators, {total} views")


@shares.command("statement")
@click.argument("reference")
@click.option("--month", required=True, help="Such as 2026-11.")
@click.option("--time-zone", default="Asia/Shanghai", show_default=True)
@settings_flags("dsn")
@as_json
def show_statement(reference: str, month: str, time_zone: str, settings: Settings, *, as_json: bool) -> None:
    """Show what a payee was owed, every movement and why, and what it is owed now."""

    async def found(conn: Conn) -> PayeeStatement:
        period = month_of(month, zone_of(time_zone))
        return await payee_statement(conn, reference, period.start, period.end)

    with reported():
        shown = asyncio.run(in_snapshot(settings, found))
    if as_json:
        write_json(shown)
        return
    currency = shown.payee.currency
    rows = [
        (f"{line.at:%Y-%m-%d %H:%M}", line.kind, format_micro(line.amount_micro, currency), line.subject or "", line.basis or "")
        for line in shown.lines
    ]
    opening, closing = (format_micro(amount, currency) for amount in (shown.opening_micro, shown.closing_micro))
    write_table(
        [("time", "what", "amount", "of", "why"), ("", "opening", opening, "", ""), *rows, ("", "closing", closing, "", "")]
    )


@shares.command("payouts")
@click.option("--payee", "reference", help="All of this payee's. Default: those of everybody that have not ended.")
@settings_flags("dsn")
@as_json
def list_payouts(reference: str | None, settings: Settings, *, as_json: bool) -> None:
    """List payouts."""

    async def found(conn: Conn) -> list[Payout]:
        return await (open_payouts(conn) if reference is None else payouts_of(conn, (await payee(conn, reference)).id))

    with reported():
        _show_payouts(asyncio.run(in_transaction(settings, found)), as_json)


@shares.command("pay")
@click.option("--available", required=True, help="What can be paid now: payees that it does not cover wait.")
@_currency
@settings_flags("dsn")
@as_json
def pay_out(available: str, currency: str, settings: Settings, *, as_json: bool) -> None:
    """Make a payout for each verified payee that is owed its threshold and paid by hand; what it was owed is then on its way.

    Who is connected at Stripe is paid by the clerk.
    """
    available_micro = amount_of(available)
    with reported():
        made = asyncio.run(in_transaction(settings, lambda conn: make_payouts(conn, {currency: available_micro})))
        _show_payouts(made, as_json)


@shares.command("payout")
@click.argument("payout_id", type=click.UUID)
@click.option("--sent", "outside_id", help="It was sent by hand, under this id of the provider or the bank.")
@click.option("--paid", is_flag=True, help="The payee has it.")
@click.option("--failed", "reason", help="It did not arrive, and why: what it was to pay is owed again.")
@settings_flags("dsn")
def change_payout(payout_id: UUID, outside_id: str | None, reason: str | None, settings: Settings, *, paid: bool) -> None:
    """Say what became of a payout that was made outside."""
    if [bool(outside_id), paid, bool(reason)].count(True) != 1:
        raise click.UsageError("say one of --sent, --paid, --failed")

    async def change(conn: Conn) -> None:
        await check_by_hand(conn, payout_id)
        if outside_id:
            await mark_sent(conn, payout_id, outside_id)
        elif reason:
            await mark_failed(conn, payout_id, reason)
        else:
            await mark_paid(conn, payout_id)

    with reported():
        asyncio.run(in_transaction(settings, change))


def _ppm(percent: str) -> int:
    """Millionths of a percentage with at most four decimals. Raises AgreementInvalid."""
    try:
        micro = parse_micro(percent)
    except ValueError as error:
        raise AgreementInvalid(str(error)) from error
    if micro % 100:
        raise AgreementInvalid(f"{percent} %: a share has at most four decimals")
    return micro // 100


def _show_payees(found: list[Payee], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (one.reference, one.name, format_micro(one.threshold_micro, one.currency), "yes" if one.verified else "no",
         "Stripe" if one.connected else "hand", one.destination or "", _why(one))
        for one in found
    ]  # fmt: skip
    write_table([("payee", "name", "threshold", "verified", "paid by", "destination", "waits for"), *rows])


def _why(one: Payee) -> str:
    match one.waits_for:
        case "held":
            return f"held: {one.held}"
        case "verification" if one.requirements:
            return f"verification: {', '.join(one.requirements)}"
        case "balance":
            return f"balance, since {one.short_since:%Y-%m-%d %H:%M}"
        case other:
            return other


def _show_payouts(found: list[Payout], as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    rows = [
        (str(one.id), format_micro(one.amount_micro, one.currency), one.destination, one.outside_id or "", one.state,
         one.reason or (f"{format_micro(one.reversed_micro, one.currency)} came back" if one.reversed_micro else ""))
        for one in found
    ]  # fmt: skip
    write_table([("id", "amount", "to", "as", "state", "reason"), *rows])
