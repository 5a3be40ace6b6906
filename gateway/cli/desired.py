"""What access.yaml asks for, and what has to change for it to be so; pure."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
import yaml
from msgspec import Meta

from gateway.access.model import Email, KeySettings, Label, Labels, Name, PromptDays
from gateway.access.restrictions import Restrictions
from gateway.access.scopes import ROLES, SCOPES, Role, Scopes
from gateway.access.scopes import Scope as KeyScope
from gateway.access.view import KeyView, MemberView, OrganizationView, ProjectView
from gateway.errors import InvalidRequest
from gateway.quotas.model import Meter, Most, Per, Scope
from gateway.quotas.model import Name as QuotaName
from gateway.quotas.view import QuotaView

Fields: TypeAlias = dict[str, Any]
_Place: TypeAlias = tuple[str | None, str]
"""A key's project, None for a management key, and its name."""
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]


class DesiredKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    livemode: bool = True
    lenient: bool = False
    labels: Labels = {}
    end_user: Label | None = None
    restrictions: Restrictions = Restrictions()
    expires_at: Moment | None = None


class DesiredManagementKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Role | None = None
    scopes: tuple[KeyScope, ...] = ()
    restrictions: Restrictions = Restrictions()
    expires_at: Moment | None = None


class DesiredProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt_days: PromptDays | None = None
    keys: dict[Name, DesiredKey | None] = {}


class DesiredQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`subject` by name: a project, `project/key`, a model or an end user."""

    scope: Scope
    subject: str | None = None
    meter: Meter
    per: Per | None = None
    rolling: bool = False
    limit: Most
    soft: bool = False
    livemode: bool = True


class Desired(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """access.yaml. What it does not name is left alone, unless it is pruned."""

    organization: Name | None = None
    projects: dict[Name, DesiredProject | None] = {}
    management_keys: dict[Name, DesiredManagementKey] = {}
    members: dict[Email, Role] = {}
    quotas: dict[QuotaName, DesiredQuota] = {}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What there is, as the API lists it; the organization where the file names it. `own_hint` is of the key in use."""

    own_hint: str
    organization: OrganizationView | None
    projects: Sequence[ProjectView]
    keys: Sequence[KeyView]
    members: Sequence[MemberView]
    quotas: Sequence[QuotaView]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One request to make. `fields` is what to create, or a merge patch of `before`; `project` names the one a key is made in."""

    verb: Literal["create", "change", "remove"]
    kind: Literal["organization", "project", "key", "member", "quota"]
    name: str
    fields: Fields = {}
    before: Fields = {}
    id: str = ""
    etag: str = ""
    project: str | None = None


class _Strict(yaml.SafeLoader):
    """YAML in which a name that stands twice in one place is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT002 – as it is called
        names = [cast("Hashable", self.construct_object(key, deep=True)) for key, _ in node.value]  # pyright: ignore[reportUnknownMemberType] – its stubs say no types
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_desired(text: str) -> Desired:
    """Raises InvalidRequest saying where it is wrong."""
    try:
        return msgspec.convert(yaml.load(text, _Strict) or {}, Desired)  # noqa: S506 – _Strict is a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidRequest(f"this is no YAML that is understood: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from error


def changes(desired: Desired, current: Current, *, prune: bool) -> list[Change]:
    """In the order to make them. Raises InvalidRequest for what cannot be reached by changes."""
    found = list(_organization(desired, current))
    found += _projects(desired, current)
    found += _keys(desired, current)
    found += _members(desired, current)
    found += _quotas(desired, current)
    return found + (list(_unnamed(desired, current)) if prune else [])


def _organization(desired: Desired, current: Current) -> Iterator[Change]:
    there = current.organization
    if there is not None and desired.organization not in (None, there.name):
        fields, before = {"name": desired.organization}, {"name": there.name}
        yield Change(verb="change", kind="organization", name=there.name, fields=fields, before=before, etag=there.etag)


def _projects(desired: Desired, current: Current) -> Iterator[Change]:
    there = {project.name: project for project in current.projects}
    for name, wanted in desired.projects.items():
        project, days = there.get(name), {}
        if wanted is not None and wanted.prompt_days is not None:
            days = {"prompt_days": wanted.prompt_days}
        if project is None:
            yield Change(verb="create", kind="project", name=name, fields={"name": name, **days})
            continue
        before = {"archived": project.archived_at is not None, "prompt_days": project.prompt_days}
        patch = patch_of(before, {**before, "archived": False, **days})
        if patch:
            yield Change(verb="change", kind="project", name=name, fields=patch, before=before, id=project.id, etag=project.etag)


def _keys(desired: Desired, current: Current) -> Iterator[Change]:
    there = by_name(current)
    for project, wanted in desired.projects.items():
        for name, key in (wanted or DesiredProject()).keys.items():
            of = key or DesiredKey()
            plain = {field: getattr(of, field) for field in ("lenient", "labels", "end_user", "restrictions", "expires_at")}
            settings = KeySettings(name=name, **plain)
            yield from _key(there.get((project, name), []), settings, project=project, livemode=of.livemode)
    for name, manager in desired.management_keys.items():
        granted: Scopes = frozenset(manager.scopes).union(ROLES[manager.role] if manager.role else ())
        settings = KeySettings(name=name, scopes=tuple(granted), restrictions=manager.restrictions, expires_at=manager.expires_at)
        yield from _key(there.get((None, name), []), settings, project=None, livemode=True)


def _key(alike: Sequence[KeyView], settings: KeySettings, *, project: str | None, livemode: bool) -> Iterator[Change]:
    name = title((project, settings.name))
    settings.check("inference" if project else "management")
    if len(alike) > 1:
        raise InvalidRequest(f"{len(alike)} keys are called {name}; rename or revoke {' or '.join(key.id for key in alike)}")
    after = _plain(settings)
    if not alike:
        kind = {} if project else {"kind": "management"}
        fields = {field: value for field, value in after.items() if value not in (None, {}, [], False)} | kind
        yield Change(
            verb="create", kind="key", name=name, fields=fields if livemode else {**fields, "livemode": False}, project=project
        )
        return
    there = alike[0]
    if there.livemode != livemode:
        raise InvalidRequest(f"key {name} exists with livemode: {str(there.livemode).lower()}, for good; choose another name")
    before = _plain(KeySettings(**{field: getattr(there, field) for field in KeySettings.__struct_fields__}))
    patch = patch_of(before, after)
    if patch:
        yield Change(verb="change", kind="key", name=name, fields=patch, before=before, id=there.id, etag=there.etag)


def _members(desired: Desired, current: Current) -> Iterator[Change]:
    there = {member.email: member for member in current.members}
    for email, role in sorted(desired.members.items(), key=lambda item: item[1] != "owner"):  # new owners before old ones go
        member = there.get(email.lower())
        if member is None:
            yield Change(verb="create", kind="member", name=email, fields={"email": email, "role": role})
        elif member.role != role:
            before = {"role": member.role}
            yield Change(
                verb="change", kind="member", name=email, fields={"role": role}, before=before, id=member.id, etag=member.etag
            )


def _quotas(desired: Desired, current: Current) -> Iterator[Change]:
    there = {quota.name: quota for quota in current.quotas}
    titles = {project.id: project.name for project in current.projects}
    titles |= {key.id: title(place) for place, keys in by_name(current).items() for key in keys}
    for name, wanted in desired.quotas.items():
        after: Fields = msgspec.to_builtins(wanted)
        quota = there.get(name)
        if quota is None:
            fields = {"name": name} | {field: value for field, value in after.items() if value is not None}
            yield Change(verb="create", kind="quota", name=name, fields=fields)
            continue
        before: Fields = {field: getattr(quota, field) for field in DesiredQuota.__struct_fields__}
        before["subject"] = titles.get(quota.subject or "", quota.subject)
        patch = patch_of(before, after)
        if fixed := patch.keys() - {"limit", "soft"}:
            raise InvalidRequest(f"quota {name} exists with another {', '.join(sorted(fixed))}, for good; choose another name")
        if patch:
            yield Change(verb="change", kind="quota", name=name, fields=patch, before=before, id=quota.id, etag=quota.etag)


def _unnamed(desired: Desired, current: Current) -> Iterator[Change]:
    """What the file does not name: quotas, keys but the one in use, members, and projects with all their keys."""
    for quota in current.quotas:
        if quota.name not in desired.quotas:
            yield Change(verb="remove", kind="quota", name=quota.name, id=quota.id, etag=quota.etag)
    named = {(name, key) for name, project in desired.projects.items() for key in (project or DesiredProject()).keys}
    named |= {(None, name) for name in desired.management_keys}
    for place, keys in by_name(current).items():
        for key in keys:
            if place not in named and key.hint != current.own_hint:
                yield Change(verb="remove", kind="key", name=title(place), id=key.id, etag=key.etag)
    emails = {email.lower() for email in desired.members}
    for member in current.members:
        if member.email not in emails:
            yield Change(verb="remove", kind="member", name=member.email, id=member.id, etag=member.etag)
    for project in current.projects:
        if project.name not in desired.projects and project.archived_at is None:
            yield Change(verb="remove", kind="project", name=project.name, id=project.id, etag=project.etag)


def by_name(current: Current) -> dict[_Place, list[KeyView]]:
    """The keys that are not revoked."""
    projects = {project.id: project.name for project in current.projects}
    found: dict[_Place, list[KeyView]] = {}
    for key in current.keys:
        if key.state != "revoked":
            found.setdefault((projects[key.project_id] if key.project_id else None, key.name), []).append(key)
    return found


def title(place: _Place) -> str:
    project, name = place
    return f"{project}/{name}" if project else name


def patch_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> Fields:
    """The JSON Merge Patch that makes `after` of `before`."""
    patch: Fields = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        both = isinstance(old, dict) and isinstance(new, dict)
        patch[name] = patch_of(cast("Fields", old), cast("Fields", new)) if both else new
    return patch


def _plain(settings: KeySettings) -> Fields:
    scopes = tuple(scope for scope in SCOPES if scope in settings.scopes)
    expires_at = settings.expires_at and settings.expires_at.astimezone(UTC)
    return msgspec.to_builtins(msgspec.structs.replace(settings, scopes=scopes, expires_at=expires_at))
