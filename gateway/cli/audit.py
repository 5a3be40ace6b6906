"""The trail of an organization, straight on the database: read it, prove it, keep its head."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import click
import msgspec

from billing.kit.query import Conn
from billing.ledger.chain import Head
from billing.ledger.model import Finding
from gateway.access.organizations import find_organization
from gateway.audit.model import PLATFORM, Actor, Entry
from gateway.audit.read import Sought, entries_after
from gateway.audit.verify import head_of, verify_trail, verify_trails
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_snapshot
from gateway.settings import Settings

_organization = click.option("--org", help="The organization's name. Default: the platform itself.")
_LISTED_MAX = 1000


@click.group()
def audit() -> None:
    """Who did what, and who was refused: read it, prove it, keep its head."""


@audit.command("list")
@_organization
@click.option("--action", help="`key.revoke`, or `key` for everything done to keys.")
@click.option("--object", "object_id", help="The id of what was acted on.")
@click.option("--actor", "actor_id", help="The id of the key or member that acted.")
@click.option("--refused/--done", default=None, help="Only what was refused, or only what was done.")
@click.option("--since", type=click.DateTime(), help="UTC; included.")
@click.option("--until", type=click.DateTime(), help="UTC; not included.")
@click.option("--after", default=0, help="Only entries after this position.", show_default=True)
@settings_flags("dsn")
@as_json
def list_entries(
    org: str | None,
    after: int,
    since: datetime | None,
    until: datetime | None,
    settings: Settings,
    *,
    as_json: bool,
    **sought: str,
) -> None:
    """Show the entries, oldest first, at most a thousand; ask again with --after."""
    want = msgspec.convert({**sought, "since": _utc(since), "until": _utc(until)}, Sought)

    async def found(conn: Conn) -> list[Entry]:
        return await entries_after(conn, await _owner(conn, org), after, want, limit=_LISTED_MAX)

    with reported():
        entries = asyncio.run(in_snapshot(settings, found))
    if as_json:
        write_json([_document(entry) for entry in entries])
        return
    rows = [
        (str(one.position), f"{one.at:%Y-%m-%d %H:%M:%S}", _name(one), one.action, one.object_id, one.refused or "done")
        for one in entries
    ]
    write_table([("position", "time (UTC)", "who", "action", "object", "outcome"), *rows])


@audit.command("head")
@_organization
@settings_flags("dsn")
def print_head(org: str | None, settings: Settings) -> None:
    """Print the end of the trail: sign it, keep it, and check it later."""

    async def end(conn: Conn) -> Head:
        return await head_of(conn, await _owner(conn, org))

    with reported():
        click.echo(asyncio.run(in_snapshot(settings, end)))


@audit.command("verify")
@click.option("--org", help="Only this organization's trail. Default: all.")
@click.option("--head", "kept", help="With --org: a head that was printed before; does the trail still lead through it?")
@settings_flags("dsn")
@as_json
def prove(org: str | None, kept: str | None, settings: Settings, *, as_json: bool) -> None:
    """Check that no entry was changed, removed, put in or moved."""
    try:
        through = Head.parse(kept) if kept else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error
    if through is not None and org is None:
        raise click.UsageError("a head is of one organization's trail: say which with --org")

    async def check(conn: Conn) -> list[Finding]:
        return await (verify_trails(conn) if org is None else verify_trail(conn, await _owner(conn, org), through))

    with reported():
        findings = asyncio.run(in_snapshot(settings, check))
    if as_json:
        write_json({"sound": not findings, "findings": findings})
    else:
        click.echo("\n".join(f"{one.rule}: {one.subject}: {one.detail}" for one in findings) or "the trail is sound")
    if findings:
        raise SystemExit(1)


async def _owner(conn: Conn, org: str | None) -> UUID:
    return PLATFORM if org is None else (await find_organization(conn, org)).id


def _utc(at: datetime | None) -> datetime | None:
    return at and at.replace(tzinfo=UTC)


def _name(entry: Entry) -> str:
    return msgspec.json.decode(entry.actor, type=Actor).name


def _document(entry: Entry) -> dict[str, object]:
    fields: dict[str, object] = msgspec.structs.asdict(entry)
    for name in ("actor", "before", "after"):
        fields[name] = msgspec.Raw(str(fields[name] or "null").encode())
    return {**fields, "digest": entry.digest.hex()}
