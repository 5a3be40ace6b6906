"""Organizations, projects, keys and members as managers are shown them, over HTTP and on the command line."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.access.model import Key, KeyKind, KeyState, Label, Labels, Member, OrganizationSettings, Project, PromptDays
from gateway.access.restrictions import Restrictions
from gateway.access.scopes import Role, Scope

Tag: TypeAlias = Annotated[str, Meta(description="Send it as If-Match to change what you have read.")]


class OrganizationView(msgspec.Struct, frozen=True, kw_only=True):
    """An organization. `currency` and `time_zone` are fixed: prices, invoices and quotas follow them."""

    id: str
    object: Literal["organization"] = "organization"
    name: str
    currency: str
    time_zone: str
    created_at: datetime
    etag: Tag


class ProjectView(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs and keys belong to. When it was archived, its keys were revoked."""

    id: str
    object: Literal["project"] = "project"
    name: str
    prompt_days: PromptDays
    created_at: datetime
    archived_at: datetime | None
    etag: Tag


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key, never the key itself. `livemode` false: play money, and always the test card."""

    id: str
    object: Literal["key"] = "key"
    kind: KeyKind
    project_id: Annotated[str | None, Meta(description="Null for a management key.")]
    name: str
    hint: Annotated[str, Meta(description="The first and the last characters of the key.")]
    livemode: bool
    lenient: bool
    scopes: tuple[Scope, ...]
    labels: Labels
    end_user: Label | None
    restrictions: Restrictions
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    previous_works_until: Annotated[datetime | None, Meta(description="How long the secret before the last rotation works.")]
    last_used_at: Annotated[datetime | None, Meta(description="Within some ten seconds.")]
    revoked_at: datetime | None
    revoked_because: Literal["asked", "leaked", "archived"] | None
    etag: Tag


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """A key with its secret, which is shown this once."""

    key: str


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[KeyView, ...]
    has_more: bool
    next_cursor: str | None


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member; `role` says which scopes they have."""

    id: str
    object: Literal["member"] = "member"
    email: str
    role: Role
    created_at: datetime
    etag: Tag


def organization_view(found: OrganizationSettings, time_zone: str) -> OrganizationView:
    return OrganizationView(
        id=str(found.id),
        name=found.name,
        currency=found.currency,
        time_zone=time_zone,
        created_at=found.created_at,
        etag=_tag(found.version),
    )


def project_view(project: Project) -> ProjectView:
    return ProjectView(
        id=str(project.id),
        name=project.name,
        prompt_days=project.prompt_days,
        created_at=project.created_at,
        archived_at=project.archived_at,
        etag=_tag(project.version),
    )


def member_view(member: Member) -> MemberView:
    return MemberView(
        id=str(member.id), email=member.email, role=member.role, created_at=member.created_at, etag=_tag(member.version)
    )


def key_view(key: Key) -> KeyView:
    return KeyView(**_fields(key))


def new_key_view(key: Key, token: str) -> NewKeyView:
    return NewKeyView(**_fields(key), key=token)


def _fields(key: Key) -> dict[str, Any]:
    settings = key.settings()
    return {
        "id": str(key.id),
        "kind": key.kind,
        "project_id": None if key.project_id is None else str(key.project_id),
        "hint": key.hint,
        "livemode": key.livemode,
        **{name: getattr(settings, name) for name in settings.__struct_fields__},
        "state": key.state,
        "created_at": key.created_at,
        "previous_works_until": key.previous_until,
        "last_used_at": key.used_at,
        "revoked_at": key.revoked_at,
        "revoked_because": key.revoked_because,
        "etag": _tag(key.version),
    }


def _tag(version: int) -> str:
    return f'"{version}"'
