"""Organizations, their projects and their people, straight on the database; their keys stand beside this file."""

import asyncio
from typing import Any
from uuid import UUID

import click
import msgspec

from billing.kit.query import Conn
from gateway.access.members import add_member, change_role, list_members, read_member, remove_member
from gateway.access.model import Email, Member, Name, Organization, Project
from gateway.access.organizations import find_organization, list_organizations, open_organization, rename_organization
from gateway.access.projects import change_project, list_projects, open_project, read_project
from gateway.access.scopes import ROLES, Role
from gateway.access.view import member_view, project_view
from gateway.audit.model import Action, Facts
from gateway.audit.record import record
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction, operator
from gateway.errors import InvalidRequest
from gateway.settings import Settings

LISTED_MAX = 1000
organization = click.option("--org", required=True, help="The organization's name.")


@click.group()
def orgs() -> None:
    """Create, list and rename organizations."""


@orgs.command("create")
@click.argument("name")
@click.option("--currency", type=click.Choice(["CNY", "USD"]), default="CNY", show_default=True, help="What it is billed in.")
@click.option("--time-zone", help="IANA name: where its days and months begin. Default: Asia/Shanghai.")
@settings_flags("dsn")
@as_json
def create_org(name: str, currency: str, time_zone: str | None, settings: Settings, *, as_json: bool) -> None:
    """Create an organization with its wallets and a project named `default`; an existing one is shown."""

    async def create(conn: Conn) -> list[Organization]:
        known = await list_organizations(conn)
        opened = await open_organization(conn, checked(name, Name), currency, time_zone)
        if opened not in known:
            await note(conn, opened.id, "organization.create", opened.id, after=opened)
        return [opened]

    with reported():
        _show_orgs(asyncio.run(in_transaction(settings, create)), as_json)


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


@orgs.command("rename")
@organization
@click.argument("name")
@settings_flags("dsn")
@as_json
def rename_org(org: str, name: str, settings: Settings, *, as_json: bool) -> None:
    """Give an organization another name."""

    async def rename(conn: Conn) -> list[Organization]:
        owner = await find_organization(conn, org)
        changed = await rename_organization(conn, owner.id, checked(name, Name))
        await note(conn, owner.id, "organization.change", owner.id, before={"name": owner.name}, after={"name": changed.name})
        return [msgspec.structs.replace(owner, name=changed.name)]

    with reported():
        _show_orgs(asyncio.run(in_transaction(settings, rename)), as_json)


@click.group()
def projects() -> None:
    """Open, list, rename and archive projects."""


@projects.command("create")
@organization
@click.argument("name")
@settings_flags("dsn")
@as_json
def create_project(org: str, name: str, settings: Settings, *, as_json: bool) -> None:
    """Open a project."""

    async def create(conn: Conn) -> list[Project]:
        owner = await find_organization(conn, org)
        made = await open_project(conn, owner.id, checked(name, Name))
        await note(conn, owner.id, "project.create", made.id, after=project_view(made))
        return [made]

    with reported():
        _show_projects(asyncio.run(in_transaction(settings, create)), as_json)


@projects.command("list")
@organization
@settings_flags("dsn")
@as_json
def show_projects(org: str, settings: Settings, *, as_json: bool) -> None:
    """List the projects of an organization."""

    async def found(conn: Conn) -> list[Project]:
        return await list_projects(conn, (await find_organization(conn, org)).id, limit=LISTED_MAX)

    with reported():
        _show_projects(asyncio.run(in_transaction(settings, found)), as_json)


@projects.command("change")
@organization
@click.argument("project_id", type=click.UUID)
@click.option("--name", help="Another name.")
@click.option("--archive/--restore", "archived", default=None, help="Archiving revokes the project's keys for good.")
@click.option("--prompt-days", type=click.IntRange(0, 3650), help="How long what was asked for is kept after a job has ended.")
@settings_flags("dsn")
@as_json
def alter_project(
    org: str, project_id: UUID, name: str | None, prompt_days: int | None, settings: Settings, *, archived: bool | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Rename a project, archive it or bring it back, say how long prompts are kept."""

    async def alter(conn: Conn) -> list[Project]:
        owner = await find_organization(conn, org)
        found = await read_project(conn, owner.id, project_id, lock=True)
        wanted = found.archived_at is not None if archived is None else archived
        days = found.prompt_days if prompt_days is None else prompt_days
        changed = await change_project(
            conn, owner.id, found.id, name=checked(name or found.name, Name), archived=wanted, prompt_days=days
        )
        await note(conn, owner.id, "project.change", found.id, before=project_view(found), after=project_view(changed))
        return [changed]

    with reported():
        _show_projects(asyncio.run(in_transaction(settings, alter)), as_json)


def _show_projects(found: list[Project], as_json: bool) -> None:
    if as_json:
        write_json([project_view(one) for one in found])
    else:
        rows = [(str(one.id), one.name, "archived" if one.archived_at else "open") for one in found]
        write_table([("id", "name", "state"), *rows])


@click.group()
def members() -> None:
    """Add, list and remove an organization's people, and change their roles."""


_role = click.option("--role", type=click.Choice(tuple(ROLES)), required=True, help="What they may do.")


@members.command("add")
@organization
@click.argument("email")
@_role
@settings_flags("dsn")
@as_json
def add_one(org: str, email: str, role: Role, settings: Settings, *, as_json: bool) -> None:
    """Add somebody by their e-mail address."""

    async def add(conn: Conn) -> list[Member]:
        owner = await find_organization(conn, org)
        added = await add_member(conn, owner.id, checked(email, Email), role)
        await note(conn, owner.id, "member.add", added.id, after=member_view(added))
        return [added]

    with reported():
        _show_members(asyncio.run(in_transaction(settings, add)), as_json)


@members.command("list")
@organization
@settings_flags("dsn")
@as_json
def show_members(org: str, settings: Settings, *, as_json: bool) -> None:
    """List the members of an organization."""

    async def found(conn: Conn) -> list[Member]:
        return await list_members(conn, (await find_organization(conn, org)).id, limit=LISTED_MAX)

    with reported():
        _show_members(asyncio.run(in_transaction(settings, found)), as_json)


@members.command("change")
@organization
@click.argument("member_id", type=click.UUID)
@_role
@settings_flags("dsn")
@as_json
def change_one(org: str, member_id: UUID, role: Role, settings: Settings, *, as_json: bool) -> None:
    """Give a member another role."""

    async def change(conn: Conn) -> list[Member]:
        owner = await find_organization(conn, org)
        found = await read_member(conn, owner.id, member_id, lock=True)
        changed = await change_role(conn, owner.id, found, role)
        await note(conn, owner.id, "member.change", found.id, before=member_view(found), after=member_view(changed))
        return [changed]

    with reported():
        _show_members(asyncio.run(in_transaction(settings, change)), as_json)


@members.command("remove")
@organization
@click.argument("member_id", type=click.UUID)
@settings_flags("dsn")
@as_json
def remove_one(org: str, member_id: UUID, settings: Settings, *, as_json: bool) -> None:
    """Remove a member."""

    async def remove(conn: Conn) -> None:
        owner = await find_organization(conn, org)
        found = await read_member(conn, owner.id, member_id, lock=True)
        await remove_member(conn, owner.id, found)
        await note(conn, owner.id, "member.remove", found.id, before=member_view(found))

    with reported():
        asyncio.run(in_transaction(settings, remove))
        if as_json:
            write_json({"id": member_id, "removed": True})
        else:
            click.echo(f"{member_id} is no member any more")


def _show_members(found: list[Member], as_json: bool) -> None:
    if as_json:
        write_json([member_view(one) for one in found])
    else:
        write_table([("id", "email", "role"), *((str(one.id), one.email, one.role) for one in found)])


def checked(value: object, kind: Any) -> Any:
    """Raises InvalidRequest for a value that the API would not take either."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from error


async def note(
    conn: Conn,
    org_id: UUID,
    name: str,
    object_id: UUID,
    *,
    before: msgspec.Struct | Facts | None = None,
    after: msgspec.Struct | Facts | None = None,
) -> None:
    """Records what the operator did, as the last step of its transaction."""
    facts: list[Facts | None] = [msgspec.to_builtins(side) for side in (before, after)]
    action = Action(org_id=org_id, actor=operator(), name=name, object_id=str(object_id), before=facts[0], after=facts[1])
    await record(conn, action)
