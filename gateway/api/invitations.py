"""/v1/invitations, for managers: who may come in, and as what; and for whoever holds one: to come in."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, get, post
from msgspec import UNSET, Meta, UnsetType

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.managers import require_within
from gateway.access.model import Email, Member
from gateway.access.scopes import ROLES, Role
from gateway.api.organizations import BODY_ERRORS
from gateway.api.sign_in import AT_THE_DOOR, COOKIE, PRIVATE, answer_who, begin_noted
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.entrance import note
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.person import door_of, require_ours, signed_in
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.errors import Conflict, Forbidden, InvalidRequest, NotFound, NotSignedIn, UnsupportedField
from gateway.people.invitations import accept, invitation_with, invite, list_invitations, read_invitation, revoke_invitation
from gateway.people.model import Invitation, Password, SignedIn, check_password
from gateway.people.persons import lock_person, make_person
from gateway.people.view import InvitationView, NewInvitationView, WhoView, invitation_view, new_invitation_view


class InvitationList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[InvitationView, ...]
    has_more: bool
    next_cursor: str | None


class CreateInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give no role that has scopes you do not have."""

    email: Email
    role: Role


class AcceptInvitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With a password if you are new here; without one as who you are signed in."""

    token: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Password | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_create, _accept = msgspec.json.Decoder(CreateInvitation), msgspec.json.Decoder(AcceptInvitation)
_ID = Parameter("invitation_id", "The id of an invitation.", str, "path")
_LIST = Described(
    tag="Members",
    answers={200: Answer("A page of invitations, whatever became of them.", InvitationList)},
    parameters=PAGE,
    errors=(InvalidRequest, UnsupportedField),
    scope="members:read",
)
_CREATE = Described(
    tag="Members",
    body=CreateInvitation,
    answers={201: Answer("The invitation, with its token this once.", NewInvitationView)},
    errors=(*BODY_ERRORS, Conflict),
    scope="members:write",
)
_REVOKE = Described(
    tag="Members",
    answers={200: Answer("The invitation. Again, it changes nothing.", InvitationView)},
    parameters=(_ID,),
    errors=(NotFound, Conflict),
    scope="members:write",
)
_ACCEPT = Described(
    tag="Sign-in",
    body=AcceptInvitation,
    answers={200: Answer("Who is signed in. Who is new is at the stage `password`, to enrol.", WhoView, headers=COOKIE)},
    errors=(*AT_THE_DOOR, Conflict),
    public=True,
)


@get("/v1/invitations", operation_id="list_invitations", opt={"described": _LIST})
async def list_all_invitations(request: HttpRequest) -> Response[bytes]:
    """List the invitations, newest first."""
    who, (limit, after) = await manager(request), page_of(query_of(request, "limit", "cursor"))
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        page, cursor = cut(await list_invitations(conn, who.org_id, limit=limit + 1, after=after), limit)
    listed = InvitationList(data=tuple(map(invitation_view, page)), has_more=cursor is not None, next_cursor=cursor)
    return json_reply(_encode(listed))


@post("/v1/invitations", operation_id="create_invitation", opt={"described": _CREATE})
async def create_invitation(request: HttpRequest) -> Response[bytes]:
    """Invite somebody by their e-mail address. Hand them the token yourself: no mail is sent, and it is shown this once."""
    who, body = await manager(request), await read_json(request, _create)
    require_within(who, ROLES[body.role])
    door_of(request)

    async def write(conn: Conn) -> tuple[Invitation, str]:
        made, token = await invite(conn, who.org_id, body.email, body.role, by=who.actor.name)
        await record(conn, acted(request, who, made.id, after=invitation_view(made)))
        return made, token

    made, token = await transact(gateway_of(request).pool, write, of=who.org_id)
    return json_reply(_encode(new_invitation_view(made, token)), 201, PRIVATE)


@post("/v1/invitations/{invitation_id:str}/revoke", status_code=200, operation_id="revoke_invitation", opt={"described": _REVOKE})
async def revoke_one_invitation(request: HttpRequest, invitation_id: str) -> Response[bytes]:
    """Revoke an invitation that was not accepted."""
    who = await manager(request)

    async def write(conn: Conn) -> Invitation:
        found = await read_invitation(conn, who.org_id, uuid_of(invitation_id))
        require_within(who, ROLES[found.role])
        if found.state == "revoked":
            return found
        revoked = await revoke_invitation(conn, found)
        await record(conn, acted(request, who, found.id, before=invitation_view(found), after=invitation_view(revoked)))
        return revoked

    return json_reply(_encode(invitation_view(await transact(gateway_of(request).pool, write, of=who.org_id))))


@post("/v1/invitations/accept", status_code=200, operation_id="accept_invitation", opt={"described": _ACCEPT})
async def accept_invitation(request: HttpRequest) -> Response[bytes]:
    """Come in. Who is new chooses a password, and enrols a second factor next; who has a sign-in signs in with it first."""
    door_of(request)
    require_ours(request)
    body = await read_json(request, _accept)
    if body.password is not UNSET:
        return await _accept_anew(request, body.token, body.password)
    try:
        who, token = await signed_in(request)
    except NotSignedIn as error:  # the route itself needs no session: this is about what was sent
        raise InvalidRequest("choose a password; or sign in first, if you have one here", param="password") from error
    if who.org_id is not None:
        raise Forbidden("you came by another organization's provider, which speaks for you there only; sign in with a password")

    async def write(conn: Conn) -> Member:
        invitation, person = await invitation_with(conn, body.token), await lock_person(conn, who.person_id)
        member = await accept(conn, invitation, person)
        await note(conn, request, who, "invitation.accept", after={"invitation": str(invitation.id), "role": member.role})
        return member

    await transact(gateway_of(request).pool, write)
    return await answer_who(request, who, token)


async def _accept_anew(request: HttpRequest, token: str, password: str) -> Response[bytes]:
    """As somebody new. Nothing is hashed for a token that is none."""
    pool = gateway_of(request).pool
    async with pool.acquire(timeout=5) as conn, conn.transaction():
        check_password((await invitation_with(conn, token)).email, password)
    hashed = await door_of(request).passwords.hash(password)

    async def write(conn: Conn) -> tuple[SignedIn, str]:
        invitation = await invitation_with(conn, token)
        person = await make_person(conn, invitation.email, hashed)
        member = await accept(conn, invitation, person)
        await note(conn, request, person, "invitation.accept", after={"invitation": str(invitation.id), "role": member.role})
        return await begin_noted(conn, request, person, "password")

    return await answer_who(request, *await transact(pool, write))
