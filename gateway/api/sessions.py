"""/v1/session, for the one who is signed in: who they are, what they sign in with, and where else; a member's, for managers."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from msgspec import Meta

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.managers import require_within
from gateway.access.members import read_member
from gateway.access.model import Member
from gateway.access.scopes import ROLES
from gateway.api.organizations import BODY_ERRORS
from gateway.api.sign_in import COOKIE, PRIVATE, ShowCode, answer_who, begin_noted, with_code
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.entrance import note, note_failure
from gateway.edge.manager import manager
from gateway.edge.pages import uuid_of
from gateway.edge.person import cookie_header, door_of, memberships, signed_in
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.errors import Conflict, Forbidden, NotFound, SignInPaused, SignInRefused
from gateway.people.model import FREE_OF_ACCOUNT, PASSWORD_MAX, Password, SignedIn, check_password, of_person
from gateway.people.pace import claim_attempt, forgive
from gateway.people.persons import change_password, lock_person
from gateway.people.second_factor import forget_factor
from gateway.people.sessions import end_session, end_sessions, list_sessions
from gateway.people.view import SessionList, WhoView, session_view, who_view


class ChangePassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one that is, and the one to be."""

    current: Annotated[str, Meta(min_length=1, max_length=PASSWORD_MAX)]
    password: Password


_encode = msgspec.json.Encoder().encode
_change, _show = msgspec.json.Decoder(ChangePassword), msgspec.json.Decoder(ShowCode)
_SESSION_ID = Parameter("session_id", "The id of a session of yours.", str, "path")
_MEMBER_ID = Parameter("member_id", "The id of a member.", str, "path")
_WHO = Described(tag="Sign-in", answers={200: Answer("Who is signed in.", WhoView)}, session=True)
_SIGN_OUT = Described(
    tag="Sign-in", answers={204: Answer("The session has ended.", empty=True)}, errors=(NotFound,), session=True
)
_LIST = Described(tag="Sign-in", answers={200: Answer("Your sessions.", SessionList)}, session=True)
_END = Described(
    tag="Sign-in",
    answers={204: Answer("It has ended.", empty=True)},
    parameters=(_SESSION_ID,),
    errors=(NotFound,),
    session=True,
)
_PASSWORD = Described(
    tag="Sign-in",
    body=ChangePassword,
    answers={200: Answer("Another session; all others have ended.", WhoView, headers=COOKIE)},
    errors=(*BODY_ERRORS, SignInRefused, SignInPaused, Forbidden, Conflict),
    session=True,
)
_REPLACE = Described(
    tag="Sign-in",
    body=ShowCode,
    answers={200: Answer("A session at the stage `password`, to enrol another; all others have ended.", WhoView, headers=COOKIE)},
    errors=(*BODY_ERRORS, SignInRefused, SignInPaused, Forbidden),
    session=True,
)
_OF_MEMBER = Described(
    tag="Members",
    answers={200: Answer("The sessions that open this organization.", SessionList)},
    parameters=(_MEMBER_ID,),
    errors=(NotFound,),
    scope="members:read",
)
_END_MEMBERS = Described(
    tag="Members",
    answers={204: Answer("All of them have ended, on every replica.", empty=True)},
    parameters=(_MEMBER_ID,),
    errors=(NotFound,),
    scope="members:write",
)


@get("/v1/session", operation_id="get_session", opt={"described": _WHO})
async def get_session(request: HttpRequest) -> Response[bytes]:
    """Who is signed in, at which stage, and in which organizations."""
    who, token = await signed_in(request, None)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        return json_reply(_encode(who_view(who, token, await memberships(conn, who))), headers=PRIVATE)


@delete("/v1/session", status_code=204, operation_id="sign_out", opt={"described": _SIGN_OUT})
async def sign_out(request: HttpRequest) -> Response[None]:
    """Sign out."""
    who, _ = await signed_in(request, None)
    await _end(request, who, who.id)
    return Response(None, status_code=204, headers={"set-cookie": cookie_header(request, "tallylight", "", 0)})


@get("/v1/sessions", operation_id="list_sessions", opt={"described": _LIST})
async def list_own_sessions(request: HttpRequest) -> Response[bytes]:
    """List where else you are signed in."""
    who, _ = await signed_in(request)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        listed = await list_sessions(conn, who.person_id, org_id=who.org_id)
    return json_reply(_encode(SessionList(data=tuple(session_view(one, who.id) for one in listed))))


@delete("/v1/sessions/{session_id:str}", status_code=204, operation_id="end_session", opt={"described": _END})
async def end_own_session(request: HttpRequest, session_id: str) -> Response[None]:
    """End one of your sessions, on every replica at once."""
    who, _ = await signed_in(request)
    await _end(request, who, uuid_of(session_id))
    return Response(None, status_code=204)


@post("/v1/session/password", status_code=200, operation_id="change_password", opt={"described": _PASSWORD})
async def change_own_password(request: HttpRequest) -> Response[bytes]:
    """Change your password."""
    (who, _), body = await _own(request), await read_json(request, _change)
    door, pool, subject = door_of(request), gateway_of(request).pool, of_person("password", who.person_id)
    check_password(who.email, body.password)
    await transact(pool, lambda conn: claim_attempt(conn, {subject: FREE_OF_ACCOUNT}))
    async with pool.acquire(timeout=5) as conn, conn.transaction():
        person = await lock_person(conn, who.person_id)
    if not await door.passwords.fits(body.current, person.password_hash):
        raise await note_failure(request, who, "password.change", SignInRefused())
    hashed = await door.passwords.hash(body.password)

    async def write(conn: Conn) -> tuple[SignedIn, str]:
        await change_password(conn, person, hashed)
        await forgive(conn, subject)
        await note(conn, request, who, "password.change")
        await end_sessions(conn, who.person_id)
        return await begin_noted(conn, request, who, "full")

    return await answer_who(request, *await transact(pool, write))


@post("/v1/session/second-factor", status_code=200, operation_id="replace_second_factor", opt={"described": _REPLACE})
async def replace_second_factor(request: HttpRequest) -> Response[bytes]:
    """Give up your authenticator and its recovery codes, to enrol another."""
    (who, _), body = await _own(request), await read_json(request, _show)

    async def forget(conn: Conn, _: list[str] | None) -> tuple[SignedIn, str]:
        await forget_factor(conn, who.person_id)
        await note(conn, request, who, "second_factor.forget")
        await end_sessions(conn, who.person_id)
        return await begin_noted(conn, request, who, "password")

    return await answer_who(request, *await with_code(request, who, body.code, "second_factor.forget", forget))


@get("/v1/members/{member_id:str}/sessions", operation_id="list_member_sessions", opt={"described": _OF_MEMBER})
async def list_member_sessions(request: HttpRequest, member_id: str) -> Response[bytes]:
    """List where a member is signed in."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        person_id = (await read_member(conn, who.org_id, uuid_of(member_id))).person_id
        listed = await list_sessions(conn, person_id, org_id=who.org_id, also_own=True) if person_id else []
    return json_reply(_encode(SessionList(data=tuple(session_view(one, None) for one in listed))))


@delete(
    "/v1/members/{member_id:str}/sessions", status_code=204, operation_id="end_member_sessions", opt={"described": _END_MEMBERS}
)
async def end_member_sessions(request: HttpRequest, member_id: str) -> Response[None]:
    """Sign a member out everywhere. They may sign in again; remove them to keep them out."""
    who = await manager(request)

    async def write(conn: Conn) -> Member:
        found = await read_member(conn, who.org_id, uuid_of(member_id))
        require_within(who, ROLES[found.role])
        if found.person_id is not None and await end_sessions(conn, found.person_id, org_id=who.org_id):
            await record(conn, acted(request, who, found.id))
        return found

    await transact(gateway_of(request).pool, write, of=who.org_id)
    return Response(None, status_code=204)


async def _own(request: HttpRequest) -> tuple[SignedIn, str]:
    """Raises Forbidden for a session of a provider: it does not speak for what the person has elsewhere."""
    who, token = await signed_in(request)
    if who.org_id is not None:
        raise Forbidden("you came by your organization's provider; what you sign in with is kept there")
    return who, token


async def _end(request: HttpRequest, who: SignedIn, session_id: UUID) -> None:
    async def write(conn: Conn) -> None:
        await end_session(conn, who.person_id, session_id, org_id=who.org_id)
        await note(conn, request, who, "session.end", after={"session": str(session_id)})

    await transact(gateway_of(request).pool, write)
