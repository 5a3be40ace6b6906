"""Organizations and API keys, straight on the database."""

import asyncio
from uuid import UUID

import click

from billing.kit.query import Conn
from gateway.access.keys import issue_key, issue_management_key, list_keys, revoke_key
from gateway.access.model import Key, Organization
from gateway.access.organizations import find_organization, list_organizations, open_organization
from gateway.access.scopes import ROLES, SCOPES, Role, Scope, Scopes
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.settings import Settings

organization = click.option("--org", required=True, help="The organization's name.")


@click.group()
def orgs() -> None:
    """Create and list organizations."""


@orgs.command("create")
@click.argument("name")
@click.option("--currency", type=click.Choice(["CNY", "USD"]), default="CNY", show_default=True, help="What it is billed in.")
@click.option("--time-zone", help="IANA name: where its days and months begin. Default: Asia/Shanghai.")
@settings_flags("dsn")
@as_json
def create_org(name: str, currency: str, time_zone: str | None, settings: Settings, *, as_json: bool) -> None:
    """Create an organization with its wallets and a project named `default`; an existing one is shown."""
    with reported():
        _show_orgs(
            [asyncio.run(in_transaction(settings, lambda conn: open_organization(conn, name, currency, time_zone)))], as_json
        )


@orgs.command("list")
@settings_flags("dsn")
@as_json
def list_orgs(settings: Settings, *, as_json: bool) -> None:
    """List the organizations."""
    with reported():
        _show_orgs(asyncio.run(in_transaction(settings, list_organizations)), as_json)


def _show_orgs(found: list[Organization], as_json: bool) -> None:
    if as_json:
        write_json(found)
    else:
        write_table([("name", "currency", "id"), *((one.name, one.currency, str(one.id)) for one in found)])


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create")
@organization
@click.option("--project", default="default", show_default=True)
@click.option("--name", required=True, help="What the key is for.")
@click.option("--test", is_flag=True, help="A key for play money: always the test card, never charged for real.")
@click.option("--lenient", is_flag=True, help="Ignore unsupported fields and name them in x-ignored-fields.")
@click.option("--valid-days", type=click.IntRange(1, 3650), help="After this many days the key is dead.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="A management key with this scope; repeatable.")
@click.option("--role", type=click.Choice(tuple(ROLES)), help="A management key with the scopes of this role.")
@settings_flags("dsn")
@as_json
def create_key(
    org: str, project: str, name: str, settings: Settings, *, test: bool, lenient: bool, valid_days: int | None,
    scopes: tuple[Scope, ...], role: Role | None, as_json: bool
) -> None:  # fmt: skip
    """Create a key. It is shown this once: only its hash is stored."""
    granted: Scopes = frozenset(scopes).union(ROLES[role] if role else ())

    async def create(conn: Conn) -> tuple[UUID, str]:
        owner = await find_organization(conn, org)
        if granted:
            return await issue_management_key(conn, owner.id, name=name, scopes=granted, valid_days=valid_days)
        return await issue_key(
            conn, owner.id, name=name, livemode=not test, project=project, lenient=lenient, valid_days=valid_days
        )

    with reported():
        key_id, token = asyncio.run(in_transaction(settings, create))
        if as_json:
            write_json({"id": key_id, "key": token})
        else:
            click.echo(f"{token}\nKeep it now; it is not shown again. Its id is {key_id}.")


@keys.command("list")
@organization
@settings_flags("dsn")
@as_json
def show_keys(org: str, settings: Settings, *, as_json: bool) -> None:
    """List the keys of an organization, never the keys themselves."""

    async def found(conn: Conn) -> list[Key]:
        return await list_keys(conn, (await find_organization(conn, org)).id)

    with reported():
        listed = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json(listed)
        else:
            rows = [
                (str(k.id), k.hint, k.project or "management", k.name, "revoked" if k.revoked_at else "valid") for k in listed
            ]
            write_table([("id", "key", "project", "name", "state"), *rows])


@keys.command("revoke")
@organization
@click.argument("key_id", type=click.UUID)
@settings_flags("dsn")
@as_json
def revoke(org: str, key_id: UUID, settings: Settings, *, as_json: bool) -> None:
    """Revoke a key, everywhere within half a second."""

    async def end(conn: Conn) -> None:
        await revoke_key(conn, (await find_organization(conn, org)).id, key_id)

    with reported():
        asyncio.run(in_transaction(settings, end))
        if as_json:
            write_json({"id": key_id, "revoked": True})
        else:
            click.echo(f"{key_id} is revoked")
