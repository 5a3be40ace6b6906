"""API keys, straight on the database."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import click
import msgspec

from billing.kit.query import Conn
from gateway.access.keys import add_key, change_key, list_keys, read_key
from gateway.access.model import Key, KeySettings
from gateway.access.organizations import find_organization
from gateway.access.restrictions import Restrictions
from gateway.access.revoke import revoke_key
from gateway.access.rotate import OVERLAP_S_MAX, rotate_key
from gateway.access.scopes import ROLES, SCOPES, Role
from gateway.access.view import key_view, new_key_view
from gateway.cli.access import LISTED_MAX, checked, note, organization
from gateway.cli.command import as_json, reported, settings_flags, write_json, write_table
from gateway.cli.database import in_transaction
from gateway.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])
_RESTRICTIONS = Restrictions.__struct_fields__
_UNSET = ("labels", "end_user", "expires", *_RESTRICTIONS)
_key_id = click.argument("key_id", type=click.UUID)
_OPTIONS = (
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="What usage is reported by; repeatable."),
    click.option("--end-user", help="Stands for requests that name no end user."),
    click.option("--model", "models", multiple=True, help="Only this model; repeatable."),
    click.option("--tier-max", type=click.Choice(("flex", "standard", "priority")), help="No tier above this."),
    click.option("--resolution-max", type=click.Choice(("480p", "720p", "1080p")), help="Nothing larger."),
    click.option("--seconds-max", type=click.IntRange(1, 3600), help="Nothing longer."),
    click.option("--address", "addresses", multiple=True, metavar="CIDR", help="Only from this network; repeatable."),
    click.option("--expires", type=click.DateTime(), help="UTC. From then on the key is dead."),
    click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="A management key's; repeatable."),
    click.option("--role", type=click.Choice(tuple(ROLES)), help="A management key with the scopes of this role."),
    click.option("--lenient/--strict", default=None, help="Ignore unsupported fields and name them in x-ignored-fields."),
)


def _said_of_a_key(function: Function) -> Function:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group()
def keys() -> None:
    """Create, list, change, rotate and revoke API keys."""


@keys.command("create")
@organization
@click.option("--project", default="default", show_default=True)
@click.option("--name", required=True, help="What the key is for.")
@click.option("--test", is_flag=True, help="A key for play money: always the test card, never charged for real.")
@click.option("--valid-days", type=click.IntRange(1, 3650), help="After this many days the key is dead.")
@_said_of_a_key
@settings_flags("dsn")
@as_json
def create(
    org: str, project: str, name: str, settings: Settings, *, test: bool, valid_days: int | None, as_json: bool, **said: Any
) -> None:
    """Create a key. It is shown this once: only its hash is stored."""

    async def make(conn: Conn) -> tuple[Key, str]:
        owner = await find_organization(conn, org)
        wanted = _settings(KeySettings(name=name), said)
        key_id, token = await add_key(
            conn, owner.id, wanted, kind="management" if wanted.scopes else "inference", livemode=not test, project=project,
            valid_days=valid_days,
        )  # fmt: skip
        made = await read_key(conn, owner.id, key_id)
        await note(conn, owner.id, "key.create", key_id, after=key_view(made))
        return made, token

    with reported():
        _show_secret(*asyncio.run(in_transaction(settings, make)), as_json)


@keys.command("list")
@organization
@settings_flags("dsn")
@as_json
def show_all(org: str, settings: Settings, *, as_json: bool) -> None:
    """List the keys of an organization, never the keys themselves."""

    async def found(conn: Conn) -> list[Key]:
        return await list_keys(conn, (await find_organization(conn, org)).id, limit=LISTED_MAX)

    with reported():
        listed = asyncio.run(in_transaction(settings, found))
        if as_json:
            write_json([key_view(one) for one in listed])
        else:
            rows = [(str(k.id), k.hint, k.project or "–", k.name, k.state, _when(k.used_at)) for k in listed]
            write_table([("id", "key", "project", "name", "state", "last used"), *rows])


@keys.command("show")
@organization
@_key_id
@settings_flags("dsn")
@as_json
def show(org: str, key_id: UUID, settings: Settings, *, as_json: bool) -> None:
    """Show a key with its restrictions, labels and expiry."""

    async def found(conn: Conn) -> Key:
        return await read_key(conn, (await find_organization(conn, org)).id, key_id)

    with reported():
        _show(asyncio.run(in_transaction(settings, found)), as_json)


@keys.command("change")
@organization
@_key_id
@click.option("--name", help="What the key is for.")
@_said_of_a_key
@click.option("--unset", multiple=True, type=click.Choice(_UNSET), help="Lift this; repeatable.")
@settings_flags("dsn")
@as_json
def change(
    org: str, key_id: UUID, name: str | None, settings: Settings, *, unset: tuple[str, ...], as_json: bool, **said: Any
) -> None:
    """Change what a key may do, how it is labelled or when it expires. What is not said stays."""

    async def alter(conn: Conn) -> Key:
        owner = await find_organization(conn, org)
        found = await read_key(conn, owner.id, key_id, lock=True)
        wanted = _settings(_without(found.settings(), unset), {"name": name, **said})
        changed = await change_key(conn, owner.id, found, wanted)
        await note(conn, owner.id, "key.change", key_id, before=key_view(found), after=key_view(changed))
        return changed

    with reported():
        _show(asyncio.run(in_transaction(settings, alter)), as_json)


@keys.command("rotate")
@organization
@_key_id
@click.option(
    "--overlap-s", type=click.IntRange(0, OVERLAP_S_MAX), default=86400, show_default=True, help="How long the old secret works."
)
@settings_flags("dsn")
@as_json
def rotate(org: str, key_id: UUID, overlap_s: int, settings: Settings, *, as_json: bool) -> None:
    """Give a key a new secret. It is shown this once; the one before works a while longer."""

    async def renew(conn: Conn) -> tuple[Key, str]:
        owner = await find_organization(conn, org)
        found = await read_key(conn, owner.id, key_id, lock=True)
        token = await rotate_key(conn, owner.id, found, overlap_s=overlap_s)
        rotated = await read_key(conn, owner.id, key_id)
        await note(conn, owner.id, "key.rotate", key_id, before=key_view(found), after=key_view(rotated))
        return rotated, token

    with reported():
        _show_secret(*asyncio.run(in_transaction(settings, renew)), as_json)


@keys.command("revoke")
@organization
@_key_id
@settings_flags("dsn")
@as_json
def revoke(org: str, key_id: UUID, settings: Settings, *, as_json: bool) -> None:
    """Revoke a key, everywhere within half a second."""

    async def end(conn: Conn) -> None:
        owner = await find_organization(conn, org)
        found = await read_key(conn, owner.id, key_id, lock=True)
        if found.state != "revoked":
            revoked = await revoke_key(conn, owner.id, key_id)
            await note(conn, owner.id, "key.revoke", key_id, before=key_view(found), after=key_view(revoked))

    with reported():
        asyncio.run(in_transaction(settings, end))
        if as_json:
            write_json({"id": key_id, "revoked": True})
        else:
            click.echo(f"{key_id} is revoked")


def _settings(before: KeySettings, said: dict[str, Any]) -> KeySettings:
    """What stands, with what the options say. Raises BadParameter for a label that is none."""
    given = {name: value for name, value in said.items() if value not in (None, ())}
    rules = {name: given.pop(name) for name in _RESTRICTIONS if name in given}
    role: Role | None = given.pop("role", None)
    if "scopes" in given or role:
        given["scopes"] = tuple(scope for scope in SCOPES if scope in (*given.get("scopes", ()), *(ROLES[role] if role else ())))
    if "labels" in given:
        given["labels"] = dict(map(_label, given["labels"]))
    if "expires" in given:
        given["expires_at"] = given.pop("expires").replace(tzinfo=UTC)
    restrictions = msgspec.structs.replace(before.restrictions, **rules)
    return checked(msgspec.to_builtins(msgspec.structs.replace(before, restrictions=restrictions, **given)), KeySettings)


def _without(before: KeySettings, unset: tuple[str, ...]) -> KeySettings:
    lifted = msgspec.structs.replace(before.restrictions, **{name: None for name in unset if name in _RESTRICTIONS})
    plain: dict[str, Any] = {"labels": {}, "end_user": None, "expires": None}
    chosen = {name.replace("expires", "expires_at"): value for name, value in plain.items() if name in unset}
    return msgspec.structs.replace(before, restrictions=lifted, **chosen)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise click.BadParameter(f"{text!r} is no label; write team=film", param_hint="--label")
    return name, value


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _show(key: Key, as_json: bool) -> None:
    view = key_view(key)
    if as_json:
        write_json(view)
        return
    fields: dict[str, Any] = msgspec.to_builtins(view)
    for name, value in fields.items():
        if value not in (None, {}, []):
            click.echo(f"{name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")


def _show_secret(key: Key, token: str, as_json: bool) -> None:
    if as_json:
        write_json(new_key_view(key, token))
    else:
        click.echo(f"{token}\nKeep it now; it is not shown again. Its id is {key.id}.")
