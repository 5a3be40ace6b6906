"""Sessions and invitations as people and managers are shown them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.access.model import Membership
from gateway.access.scopes import Role
from gateway.people.model import Invitation, InvitationState, Session, SignedIn, Stage, csrf_token


class MembershipView(msgspec.Struct, frozen=True, kw_only=True):
    """An organization that may be named in Tallylight-Organization, and what the person is there."""

    organization_id: str
    organization: str
    role: Role


class WhoView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in. At the stage `password` only the second factor may be shown or enrolled."""

    object: Literal["session"] = "session"
    id: str
    email: str
    stage: Stage
    csrf_token: Annotated[str, Meta(description="Send it as X-CSRF-Token with every request that is not a GET.")]
    memberships: Annotated[tuple[MembershipView, ...], Meta(description="Empty until the stage is `full`.")]
    recovery_codes: Annotated[
        tuple[str, ...] | None, Meta(description="Once, when an authenticator is enrolled: each stands for one code of it.")
    ] = None


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session, never its secret. With an organization it is good there only: its provider vouched for the person."""

    id: str
    object: Literal["session"] = "session"
    stage: Stage
    organization_id: str | None
    address: str | None
    agent: Annotated[str | None, Meta(description="What the browser calls itself.")]
    created_at: datetime
    seen_at: Annotated[datetime, Meta(description="Within a minute.")]
    expires_at: datetime
    current: Annotated[bool, Meta(description="The one that asks.")]


class SessionList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    object: Literal["list"] = "list"
    data: tuple[SessionView, ...]


class InvitationView(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation, never its token."""

    id: str
    object: Literal["invitation"] = "invitation"
    email: str
    role: Role
    state: InvitationState
    invited_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class NewInvitationView(InvitationView, frozen=True, kw_only=True):
    """An invitation with its token, which is shown this once: hand it over yourself, no mail is sent."""

    token: str


def who_view(
    who: SignedIn, token: str, memberships: Sequence[Membership], recovery_codes: Sequence[str] | None = None
) -> WhoView:
    return WhoView(
        id=str(who.id),
        email=who.email,
        stage=who.stage,
        csrf_token=csrf_token(token),
        memberships=tuple(
            MembershipView(organization_id=str(one.org_id), organization=one.organization, role=one.role) for one in memberships
        ),
        recovery_codes=None if recovery_codes is None else tuple(recovery_codes),
    )


def session_view(session: Session, current: UUID | None) -> SessionView:
    return SessionView(
        id=str(session.id),
        stage=session.stage,
        organization_id=None if session.org_id is None else str(session.org_id),
        address=session.address,
        agent=session.agent,
        created_at=session.created_at,
        seen_at=session.seen_at,
        expires_at=session.expires_at,
        current=session.id == current,
    )


def invitation_view(found: Invitation) -> InvitationView:
    return InvitationView(**_fields(found))


def new_invitation_view(made: Invitation, token: str) -> NewInvitationView:
    return NewInvitationView(**_fields(made), token=token)


def _fields(found: Invitation) -> dict[str, Any]:
    fields = {**msgspec.structs.asdict(found), "id": str(found.id)}
    del fields["org_id"]
    return fields
