"""Usage, statements and margins, straight on the database."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from billing.customers.register import customer
from billing.errors import ReportInvalid
from billing.kit.money import format_amount, format_micro, parse_micro
from billing.kit.query import Conn
from billing.ledger.model import Book
from billing.reports.files import jobs_csv, jobs_parquet, statement_csv, statement_parquet, usage_csv, usage_parquet
from billing.reports.margin import Margin, Rates, true_ups
from billing.reports.margin import margin as compare
from billing.reports.model import DIMENSIONS, STEPS, Ask, StatementOf, TrueUp, UsageRow, ask
from billing.reports.period import Period, month_of, period_of, zone_of
from billing.reports.statement import Statement
from billing.reports.statement import statement as read_statement
from billing.reports.usage import usage as add_up
from gateway.access.model import Organization
from gateway.access.organizations import find_organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot
from gateway.settings import Settings

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])
Write = Callable[[bytes], Awaitable[None]]

_file = click.Path(path_type=Path, dir_okay=False)
"""Where a report goes: its ending says which kind of file it is."""


def _period_flags(function: Function) -> Function:
    """`--month`, or `--from` and `--to`; and the zone they are in."""
    decorated: Any = function
    for option in (
        click.option("--time-zone", help="Where days begin. Default: the organization's, else UTC."),
        click.option("--to", "end", help="Where the period ends; this moment is not in it any more."),
        click.option("--from", "start", help="Where it begins: 2026-11-01 or 2026-11-01T08:00:00+08:00."),
        click.option("--month", help="A month such as 2026-11, in place of --from and --to."),
    ):
        decorated = option(decorated)
    return decorated


class When(msgspec.Struct, frozen=True):
    """The flags of a period."""

    month: str | None
    start: str | None
    end: str | None
    time_zone: str | None

    def period(self, default_zone: str) -> Period:
        """Raises ReportInvalid."""
        zone = zone_of(self.time_zone or default_zone)
        if self.month is not None and self.start is None and self.end is None:
            return month_of(self.month, zone)
        if self.month is None and self.start is not None and self.end is not None:
            return period_of(self.start, self.end, zone)
        raise ReportInvalid("say either --month, or --from and --to", "month")


@click.command
@click.option("--org", help="Only this organization, by name. Default: all.")
@_period_flags
@click.option("--by", "groups", multiple=True, help=f"{', '.join((*STEPS, *DIMENSIONS))} or label:<name>; may be repeated.")
@click.option("--only", "filters", multiple=True, help="A dimension and its value: model=film, label:team=red; may be repeated.")
@click.option("--test", is_flag=True, help="Of play money.")
@click.option("--jobs", "of_jobs", is_flag=True, help="With --file: the jobs and refunds behind the figures.")
@click.option("--file", "path", type=_file, help="Write a file, by its ending .csv or .parquet.")
@settings_flags("dsn")
@as_json
def usage(
    org: str | None, groups: tuple[str, ...], filters: tuple[str, ...], path: Path | None, settings: Settings, *,
    test: bool, of_jobs: bool, as_json: bool, **when: str | None,
) -> None:  # fmt: skip
    """Show what was used and charged, by any dimensions."""
    if of_jobs and path is None:
        raise click.BadParameter("the jobs go to a file: say --file", param_hint="--jobs")

    async def asked(conn: Conn) -> Ask:
        return await _asked(conn, org, When(**when), groups, filters, book="test" if test else "live")

    async def lines(conn: Conn) -> list[UsageRow]:
        return await add_up(conn, await asked(conn))

    with reported():
        if path is not None:
            to_csv, to_parquet = (jobs_csv, jobs_parquet) if of_jobs else (usage_csv, usage_parquet)
            _save(settings, path, asked, _kind(path, to_csv, to_parquet))
            return
        found = asyncio.run(in_snapshot(settings, lines))
    if as_json:
        write_json([{**msgspec.structs.asdict(line), "labels": msgspec.Raw(line.labels)} for line in found])
    else:
        _show_usage(found, groups)


@click.command
@click.option("--org", required=True, help="The organization's name.")
@_period_flags
@click.option("--asset", help="A currency, or SEC: and a class of prepaid seconds. Default: the organization's currency.")
@click.option("--test", is_flag=True, help="Of play money.")
@click.option("--file", "path", type=_file, help="Write a file, by its ending .csv or .parquet.")
@settings_flags("dsn")
@as_json
def statement(
    org: str, asset: str | None, path: Path | None, settings: Settings, *, test: bool, as_json: bool, **when: str | None
) -> None:
    """Show what a wallet held, every movement, and what it held then."""

    async def asked(conn: Conn) -> StatementOf:
        owner = await find_organization(conn, org)
        period = When(**when).period(await _zone(conn, owner))
        return StatementOf(owner.id, "test" if test else "live", asset or owner.currency, period)

    async def found(conn: Conn) -> Statement:
        return await read_statement(conn, await asked(conn))

    with reported():
        if path is not None:
            _save(settings, path, asked, _kind(path, statement_csv, statement_parquet))
            return
        one = asyncio.run(in_snapshot(settings, found))
    if as_json:
        write_json(one)
    else:
        _show_statement(one)


@click.command
@click.option("--org", help="Only this organization, by name. Default: all.")
@_period_flags
@click.option("--by", "groups", multiple=True, help="organization, model, chip, month, day or hour; may be repeated.")
@click.option("--only", "filters", multiple=True, help="A dimension and its value, such as model=film; may be repeated.")
@click.option("--rate", "rates", multiple=True, help="What one of the cost currency is worth: USD/CNY=7.1234; may be repeated.")
@settings_flags("dsn")
@as_json
def margin(
    org: str | None, groups: tuple[str, ...], filters: tuple[str, ...], rates: tuple[str, ...], settings: Settings, *,
    as_json: bool, **when: str | None,
) -> None:  # fmt: skip
    """Show revenue against what the compute cost. Currencies are compared only at a rate that is given."""
    given: Rates = dict(_rate(rate) for rate in rates)

    async def found(conn: Conn) -> tuple[list[Margin], list[TrueUp]]:
        want = await _asked(conn, org, When(**when), groups, filters, book="live")
        return await compare(conn, want, given), [] if org or filters else await true_ups(conn, want.period)

    with reported():
        lines, billed = asyncio.run(in_snapshot(settings, found))
    if as_json:
        shown = [
            {**msgspec.structs.asdict(one.line), "margin_micro": one.margin_micro, "margin_bp": one.margin_bp} for one in lines
        ]
        write_json(shown)
    else:
        _show_margins(lines, groups)
        for one in billed:
            amount = format_micro(one.amount_micro, one.currency)
            click.echo(f"{one.month:%Y-%m}, {one.pool}: the supplier billed {amount} more than the jobs above were accrued at")


async def _asked(
    conn: Conn, org: str | None, when: When, groups: tuple[str, ...], filters: tuple[str, ...], *, book: Book
) -> Ask:  # fmt: skip
    """Raises NotFound, ReportInvalid."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"write a dimension and its value, such as model=film, not {text!r}", param_hint="--only")
        wanted.setdefault(name, []).append(value)
    owner = await find_organization(conn, org) if org is not None else None
    if owner is not None:
        wanted["organization"] = [str(owner.id)]
    return ask(when.period(await _zone(conn, owner)), groups, wanted, book=book)


async def _zone(conn: Conn, owner: Organization | None) -> str:
    return (await customer(conn, owner.id)).time_zone if owner is not None else "UTC"


def _rate(text: str) -> tuple[tuple[str, str], int]:
    pair, _, rate = text.partition("=")
    cost_currency, slash, currency = pair.partition("/")
    try:
        rate_micro = parse_micro(rate)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from error
    if not slash or rate_micro <= 0:
        raise click.BadParameter(f"write a pair and a rate, such as USD/CNY=7.1234, not {text!r}", param_hint="--rate")
    return (cost_currency, currency), rate_micro


def _kind(path: Path, to_csv: Result, to_parquet: Result) -> Result:
    kinds = {".csv": to_csv, ".parquet": to_parquet}
    if path.suffix not in kinds:
        raise click.BadParameter("its name ends in .csv or .parquet", param_hint="--file")
    return kinds[path.suffix]


def _save(
    settings: Settings,
    path: Path,
    asked: Callable[[Conn], Awaitable[Result]],
    write: Callable[[Conn, Result, Write], Awaitable[None]],
) -> None:  # fmt: skip
    """Writes the file beside its place and moves it there when it is complete."""
    part = path.with_name(path.name + ".part")

    async def save(conn: Conn) -> None:
        want = await asked(conn)
        with part.open("wb") as out:

            async def to(data: bytes) -> None:
                out.write(data)

            await write(conn, want, to)

    try:
        asyncio.run(in_snapshot(settings, save))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _show_usage(found: list[UsageRow], groups: tuple[str, ...]) -> None:
    plain = [group for group in groups if group in DIMENSIONS]
    heading = ("period", *plain, "labels", "jobs", "failed", "refunds", "delivered", "gross", "promotional", "net")
    rows = [
        (
            line.period or "all", *(str(getattr(line, name)) for name in plain), line.labels.decode(), str(line.jobs),
            str(line.failed_jobs), str(line.refunds), format_amount(line.delivered_ms, "SEC:"),
            *(format_micro(amount, line.currency) for amount in (line.gross_micro, line.granted_micro, line.net_micro)),
        )
        for line in found
    ]  # fmt: skip
    write_table([heading, *rows])


def _show_statement(one: Statement) -> None:
    def amount(value: int) -> str:
        return format_amount(value, one.asset)

    rows = [
        (_time(line.at), line.kind, line.grant, str(line.subject), amount(line.amount), amount(line.balance))
        for line in one.movements
    ]  # fmt: skip
    heading = ("time", "entry", "on", "subject", "amount", "balance")
    opening = (_time(one.start), "opening", "", "", "", amount(one.opening))
    closing = (_time(one.end), "closing", "", "", "", amount(one.closing))
    write_table([heading, opening, *rows, closing])


def _show_margins(lines: list[Margin], groups: tuple[str, ...]) -> None:
    plain = [group for group in groups if group in DIMENSIONS]
    rows = [
        (
            one.line.period or "all", *(str(getattr(one.line, name)) for name in plain), str(one.line.jobs),
            format_micro(one.line.revenue_micro, one.line.currency), format_micro(one.line.cost_micro, one.line.cost_currency),
            "-" if one.margin_micro is None else format_micro(one.margin_micro, one.line.currency),
            "-" if one.margin_bp is None else _percent(one.margin_bp),
        )
        for one in lines
    ]  # fmt: skip
    write_table([("period", *plain, "jobs", "revenue", "cost", "margin", "of revenue"), *rows])


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _percent(basis_points: int) -> str:
    whole, rest = divmod(abs(basis_points), 100)
    return f"{'-' if basis_points < 0 else ''}{whole}.{rest:02d} %"
