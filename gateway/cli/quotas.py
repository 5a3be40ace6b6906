"""Quotas, straight on the database."""

import asyncio
from typing import get_args

import click
from msgspec import UNSET

from billing.kit.query import Conn
from gateway.access.organizations import find_organization
from gateway.cli.access import checked, note
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.quotas.define import NewQuota, QuotaChange, change_quota, create_quota, delete_quota, lock_named_quota
from gateway.quotas.model import Meter, Per, Scope
from gateway.quotas.read import Shown, list_quotas, read_quota
from gateway.quotas.view import quota_view
from gateway.settings import Settings

_QUOTAS_MAX = 10_000

organization = click.option("--org", required=True, help="The organization's name.")


@click.group()
def quotas() -> None:
    """Set, list, change and remove what an organization's projects, keys, models and end users may use."""


@quotas.command("create")
@click.argument("name")
@organization
@click.option("--scope", type=click.Choice(get_args(Scope)), default="organization", show_default=True, help="Who shares it.")
@click.option("--subject", help="The id of a project or key, a model, an end user. Default: each of the scope by itself.")
@click.option("--meter", type=click.Choice(get_args(Meter)), required=True, help="What is counted.")
@click.option("--per", type=click.Choice(get_args(Per)), help="In which window; none for concurrent_jobs.")
@click.option("--rolling", is_flag=True, help="Any stretch of that length, not the calendar's.")
@click.option("--limit", type=click.IntRange(0), required=True, help="Milliseconds, micro-units of the currency, or how many.")
@click.option("--soft", is_flag=True, help="Refuse nothing, only tell at 80 and 100 %.")
@click.option("--test", is_flag=True, help="For test keys.")
@settings_flags("dsn")
@as_json
def create(
    name: str, org: str, scope: Scope, subject: str | None, meter: Meter, per: Per | None, limit: int, settings: Settings, *,
    rolling: bool, soft: bool, test: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a quota; it counts what is admitted from now on."""
    given = {
        "name": name, "scope": scope, "subject": subject, "meter": meter, "per": per, "rolling": rolling, "limit": limit,
        "soft": soft, "livemode": not test,
    }  # fmt: skip

    async def make(conn: Conn) -> Shown:
        org_id = (await find_organization(conn, org)).id
        made = await create_quota(conn, org_id, checked(given, NewQuota))
        shown = await read_quota(conn, org_id, made.id)
        await note(conn, org_id, "quota.create", made.id, after=quota_view(made))
        return shown

    with reported():
        _show([asyncio.run(in_transaction(settings, make))], as_json)


@quotas.command("list")
@organization
@settings_flags("dsn")
@as_json
def show(org: str, settings: Settings, *, as_json: bool) -> None:
    """List the quotas with what counts against them now."""

    async def read(conn: Conn) -> list[Shown]:
        return await list_quotas(conn, (await find_organization(conn, org)).id, limit=_QUOTAS_MAX)

    with reported():
        _show(asyncio.run(in_transaction(settings, read)), as_json)


@quotas.command("change")
@click.argument("name")
@organization
@click.option("--limit", type=click.IntRange(0), help="The new limit, from the next request on.")
@click.option("--soft/--hard", default=None, help="Whether it refuses.")
@settings_flags("dsn")
@as_json
def change(name: str, org: str, limit: int | None, settings: Settings, *, soft: bool | None, as_json: bool) -> None:
    """Raise or lower a quota's limit, or make it soft or hard."""
    wanted = QuotaChange(limit=UNSET if limit is None else limit, soft=UNSET if soft is None else soft)

    async def write(conn: Conn) -> Shown:
        found = await lock_named_quota(conn, (await find_organization(conn, org)).id, name)
        changed = await change_quota(conn, found, wanted)
        shown = await read_quota(conn, found.org_id, found.id)
        if changed is not found:
            await note(conn, found.org_id, "quota.change", found.id, before=quota_view(found), after=quota_view(changed))
        return shown

    with reported():
        _show([asyncio.run(in_transaction(settings, write))], as_json)


@quotas.command("delete")
@click.argument("name")
@organization
@settings_flags("dsn")
def remove(name: str, org: str, settings: Settings) -> None:
    """Remove a quota with what it counted."""

    async def write(conn: Conn) -> None:
        found = await lock_named_quota(conn, (await find_organization(conn, org)).id, name)
        await delete_quota(conn, found)
        await note(conn, found.org_id, "quota.delete", found.id, before=quota_view(found))

    with reported():
        asyncio.run(in_transaction(settings, write))


def _show(found: list[Shown], as_json: bool) -> None:
    if as_json:
        write_json([quota_view(one.quota, one.standings) for one in found])
        return
    rows = [("quota", "whose", "allows", "used", "held", "left", "free again")]
    for one in found:
        quota = one.quota
        window = "at a time" if quota.per is None else f"in any {quota.per}" if quota.rolling else f"per {quota.per}"
        allows = f"{quota.text(quota.most)} {window}{' (soft)' if quota.soft else ''}{'' if quota.livemode else ' (test)'}"
        rows += [
            (
                quota.name,
                f"{quota.scope} {standing.subject}".rstrip(),
                allows,
                *map(quota.text, (standing.used, standing.held, standing.remaining)),
                standing.resets_at.isoformat(timespec="seconds") if standing.resets_at else "",
            )
            for standing in one.standings
        ] or [(quota.name, f"each {quota.scope}", allows, "", "", "", "")]
    write_table(rows)
