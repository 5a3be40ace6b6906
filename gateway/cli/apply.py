"""`tallylight apply`: an organization's access as a file, made so over the public API with a management key."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from gateway.access.model import hint
from gateway.access.view import KeyList, KeyView, MemberView, NewKeyView, OrganizationView, ProjectView
from gateway.api.members import MemberList
from gateway.api.projects import ProjectList
from gateway.api.quotas import QuotaList
from gateway.cli.client import ApiClient, connection
from gateway.cli.command import DEFAULT_DATA, as_json, reported, write_json
from gateway.cli.desired import Change, Current, Desired, Fields, by_name, changes, read_desired, title
from gateway.errors import InvalidRequest
from gateway.quotas.view import QuotaView

_SIGNS = {"create": "+", "change": "~", "remove": "-"}


class Applied(msgspec.Struct, frozen=True):
    """What was changed, or would be; `secrets` of the keys that were made, this once."""

    changes: list[Change]
    applied: bool
    secrets: dict[str, str] = {}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--plan", "plan_only", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Also end what the file does not name: quotas, keys, members and projects.")
@click.option("--url", help="The gateway. Default: TALLYLIGHT_BASE_URL.")
@click.option("--key", help="A management key. Default: TALLYLIGHT_API_KEY.")
@as_json
def apply(file: Path, url: str | None, key: str | None, *, plan_only: bool, prune: bool, as_json: bool) -> None:
    """Make an organization's projects, keys, members and quotas what a YAML file says. Again, it changes nothing."""

    async def run(desired: Desired) -> Applied:
        base_url, token = connection(url, key, DEFAULT_DATA)
        async with ApiClient(base_url, token) as client:
            current = await _current(client, desired, hint(token))
            found = changes(desired, current, prune=prune)
            if not as_json:
                _show(found)
            if plan_only:
                return Applied(found, applied=False)
            return Applied(found, applied=True, secrets=await _make(client, found, current))

    with reported():
        done = asyncio.run(run(read_desired(file.read_text(encoding="utf-8"))))
        if as_json:
            write_json(done)
        for name, secret in () if as_json else done.secrets.items():
            click.echo(f"{name}: {secret}\nKeep it now; it is not shown again.")


async def _current(client: ApiClient, desired: Desired, own_hint: str) -> Current:
    organization = None
    if desired.organization is not None:
        organization = await client.manage("GET", "/v1/organization", OrganizationView)
    members = await _all(client, "/v1/members", MemberList)
    return Current(
        own_hint=own_hint,
        organization=organization,
        projects=await _all(client, "/v1/projects", ProjectList),
        keys=await _all(client, "/v1/keys", KeyList),
        members=members,
        quotas=await _all(client, "/v1/quotas", QuotaList),
    )


async def _all(client: ApiClient, path: str, kind: Any) -> Any:
    rows: list[Any] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        page = await client.manage("GET", path, kind, params=query)
        rows += page.data
        if page.next_cursor is None:
            return rows
        query["cursor"] = page.next_cursor


async def _make(client: ApiClient, found: Sequence[Change], current: Current) -> dict[str, str]:
    """One request after another; each is refused where somebody else changed the same meanwhile. Returns the new secrets."""
    secrets: dict[str, str] = {}
    projects = {project.name: project.id for project in current.projects}
    keys = {title(place): found[0].id for place, found in by_name(current).items()}
    for one in found:
        match = {"if-match": one.etag}
        match one.kind, one.verb:
            case "organization", _:
                await client.manage("PATCH", "/v1/organization", OrganizationView, json=one.fields, headers=match)
            case "project", "create":
                projects[one.name] = (await client.manage("POST", "/v1/projects", ProjectView, json=one.fields)).id
            case "project", verb:
                fields = one.fields if verb == "change" else {"archived": True}
                await client.manage("PATCH", f"/v1/projects/{one.id}", ProjectView, json=fields, headers=match)
            case "key", "create":
                place = {"project_id": projects[one.project]} if one.project else {}
                made = await client.manage("POST", "/v1/keys", NewKeyView, json={**one.fields, **place})
                secrets[one.name], keys[one.name] = made.key, made.id
            case "key", "change":
                await client.manage("PATCH", f"/v1/keys/{one.id}", KeyView, json=one.fields, headers=match)
            case "key", _:
                await client.manage("POST", f"/v1/keys/{one.id}/revoke", KeyView)
            case "member", "create":
                await client.manage("POST", "/v1/members", MemberView, json=one.fields)
            case "quota", "create":
                fields = _with_subject(one.fields, {"project": projects, "key": keys})
                await client.manage("POST", "/v1/quotas", QuotaView, json=fields)
            case "quota", "change":
                await client.manage("PATCH", f"/v1/quotas/{one.id}", QuotaView, json=one.fields, headers=match)
            case "quota", _:
                await client.manage("DELETE", f"/v1/quotas/{one.id}", None, headers=match)
            case "member", "change":
                await client.manage("PATCH", f"/v1/members/{one.id}", MemberView, json=one.fields, headers=match)
            case _:
                await client.manage("DELETE", f"/v1/members/{one.id}", None, headers=match)
    return secrets


def _with_subject(fields: Fields, ids: Mapping[str, Mapping[str, str]]) -> Fields:
    """The id of the project or key that is named. Raises InvalidRequest for one that is not there."""
    scope, name = fields["scope"], fields.get("subject")
    if name is None or scope not in ids:
        return fields
    if name not in ids[scope]:
        raise InvalidRequest(f"quota {fields['name']}: there is no {scope} {name!r}")
    return {**fields, "subject": ids[scope][name]}


def _show(found: Sequence[Change]) -> None:
    for one in found:
        click.echo(f"{_SIGNS[one.verb]} {one.kind} {one.name}" + "".join(f"\n    {line}" for line in _lines(one)))
    count = [f"{sum(one.verb == verb for one in found)} to {verb}" for verb in _SIGNS]
    click.echo(", ".join(count) if found else "no changes")


def _lines(one: Change) -> list[str]:
    if one.verb != "change":
        return [f"{name}: {_text(value)}" for name, value in one.fields.items() if name not in ("name", "email")]
    flat: list[str] = []
    for name, value in one.fields.items():
        before: object = one.before.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            old, new = cast("Fields", before), cast("Fields", value)
            flat += [f"{name}.{inner}: {_text(old.get(inner))} → {_text(new[inner])}" for inner in new]
        else:
            flat.append(f"{name}: {_text(before)} → {_text(cast('object', value))}")
    return flat


def _text(value: object) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()
