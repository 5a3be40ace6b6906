"""/v1/members, for managers: an organization's people and their roles; invitations.py lets them in, sign_in.py signs them in."""

from typing import Literal

import msgspec
from litestar import Response, delete, get, patch, post

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.managers import require_within
from gateway.access.members import add_member, change_role, list_members, read_member, remove_member
from gateway.access.model import Email, Member
from gateway.access.scopes import ROLES, Role
from gateway.access.view import MemberView, member_view
from gateway.api.organizations import BODY_ERRORS
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, NotFound, UnsupportedField


class MemberList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[MemberView, ...]
    has_more: bool
    next_cursor: str | None


class AddMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give no role that has scopes you do not have."""

    email: Email
    role: Role


class ChangeMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Role


_encode = msgspec.json.Encoder().encode
_add, _change = msgspec.json.Decoder(AddMember), msgspec.json.Decoder(ChangeMember)
_ID = Parameter("member_id", "The id of a member.", str, "path")
_LIST = Described(
    tag="Members",
    answers={200: Answer("A page of members.", MemberList)},
    parameters=PAGE,
    errors=(InvalidRequest, UnsupportedField),
    scope="members:read",
)
_ADD = Described(
    tag="Members",
    body=AddMember,
    answers={201: Answer("The member.", MemberView, headers=ETAG)},
    errors=(*BODY_ERRORS, Conflict),
    scope="members:write",
)
_GET = Described(
    tag="Members",
    answers={200: Answer("The member.", MemberView, headers=ETAG)},
    parameters=(_ID,),
    errors=(NotFound,),
    scope="members:read",
)
_CHANGE = Described(
    tag="Members",
    body=ChangeMember,
    answers={200: Answer("As it is now.", MemberView, headers=ETAG)},
    parameters=(_ID, IF_MATCH),
    errors=(*BODY_ERRORS, NotFound, *VERSION_ERRORS, Conflict),
    scope="members:write",
)
_REMOVE = Described(
    tag="Members",
    answers={204: Answer("They are no member any more.", empty=True)},
    parameters=(_ID, IF_MATCH),
    errors=(NotFound, *VERSION_ERRORS, Conflict),
    scope="members:write",
)


@get("/v1/members", operation_id="list_members", opt={"described": _LIST})
async def list_all_members(request: HttpRequest) -> Response[bytes]:
    """List the members, newest first."""
    who, (limit, after) = await manager(request), page_of(query_of(request, "limit", "cursor"))
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        page, cursor = cut(await list_members(conn, who.org_id, limit=limit + 1, after=after), limit)
    return json_reply(_encode(MemberList(data=tuple(map(member_view, page)), has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/members", operation_id="add_member", opt={"described": _ADD})
async def add_one_member(request: HttpRequest) -> Response[bytes]:
    """Add somebody by their e-mail address."""
    who, body = await manager(request), await read_json(request, _add)
    require_within(who, ROLES[body.role])

    async def write(conn: Conn) -> Member:
        added = await add_member(conn, who.org_id, body.email, body.role)
        await record(conn, acted(request, who, added.id, after=member_view(added)))
        return added

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id), 201)


@get("/v1/members/{member_id:str}", operation_id="get_member", opt={"described": _GET})
async def get_one_member(request: HttpRequest, member_id: str) -> Response[bytes]:
    """One member."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return _reply(await read_member(conn, who.org_id, uuid_of(member_id)))


@patch("/v1/members/{member_id:str}", operation_id="change_member", opt={"described": _CHANGE})
async def change_one_member(request: HttpRequest, member_id: str) -> Response[bytes]:
    """Give a member another role. There is always an owner, once there is one."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Member:
        found = await read_member(conn, who.org_id, uuid_of(member_id), lock=True)
        require_match(request, found.version)
        require_within(who, ROLES[found.role] | ROLES[change.role])
        if change.role == found.role:
            return found
        changed = await change_role(conn, who.org_id, found, change.role)
        await record(conn, acted(request, who, found.id, before=member_view(found), after=member_view(changed)))
        return changed

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id))


@delete("/v1/members/{member_id:str}", status_code=204, operation_id="remove_member", opt={"described": _REMOVE})
async def remove_one_member(request: HttpRequest, member_id: str) -> Response[None]:
    """Remove a member. Management keys they made stay: revoke those that should not."""
    who = await manager(request)

    async def write(conn: Conn) -> None:
        found = await read_member(conn, who.org_id, uuid_of(member_id), lock=True)
        require_match(request, found.version)
        require_within(who, ROLES[found.role])
        await remove_member(conn, who.org_id, found)
        await record(conn, acted(request, who, found.id, before=member_view(found)))

    await transact(gateway_of(request).pool, write, of=who.org_id)
    return Response(None, status_code=204)


def _reply(member: Member, status: int = 200) -> Response[bytes]:
    return json_reply(_encode(member_view(member)), status, etag(member.version))
