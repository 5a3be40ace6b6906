"""/v1/quotas: what is allowed and what is taken. Managers set it; a key sees what concerns it."""

from typing import Literal

import msgspec
from litestar import Response, delete, get, patch, post

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Caller, Manager, well_formed
from gateway.api.organizations import BODY_ERRORS
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, authenticate, bearer, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of, single
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, NotFound, UnsupportedField
from gateway.quotas.define import NewQuota, QuotaChange, change_quota, create_quota, delete_quota, lock_quota
from gateway.quotas.read import Asker, Shown, list_quotas, read_quota
from gateway.quotas.view import QuotaView, quota_view


class QuotaList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[QuotaView, ...]
    has_more: bool
    next_cursor: str | None


_encode = msgspec.json.Encoder().encode
_create = msgspec.json.Decoder(NewQuota)
_change = msgspec.json.Decoder(QuotaChange)
_ID = Parameter("quota_id", "The id of a quota.", str, "path")
_LIST = Described(
    tag="Quotas",
    answers={200: Answer("A page of quotas, with what counts against them now.", QuotaList)},
    parameters=(
        *PAGE,
        Parameter("end_user", "For an inference key: whose standing to show where end users are counted; else its own tag."),
    ),
    errors=(InvalidRequest, UnsupportedField),
    scope="quotas:read",
    callers=True,
)
_CREATE = Described(
    tag="Quotas",
    body=NewQuota,
    answers={201: Answer("The quota. It counts what is admitted from now on.", QuotaView, headers=ETAG)},
    errors=(*BODY_ERRORS, Conflict),
    scope="quotas:write",
)
_GET = Described(
    tag="Quotas",
    answers={200: Answer("The quota, with what counts against it now.", QuotaView, headers=ETAG)},
    parameters=(_ID, Parameter("subject", "Only the standing of this project, key, model or end user.")),
    errors=(InvalidRequest, UnsupportedField, NotFound),
    scope="quotas:read",
)
_CHANGE = Described(
    tag="Quotas",
    body=QuotaChange,
    answers={200: Answer("As it is now, and from the next request on.", QuotaView, headers=ETAG)},
    parameters=(_ID, IF_MATCH),
    errors=(*BODY_ERRORS, NotFound, *VERSION_ERRORS, Conflict),
    scope="quotas:write",
)
_DELETE = Described(
    tag="Quotas",
    answers={204: Answer("It is gone with what it counted; jobs go on.", empty=True)},
    parameters=(_ID, IF_MATCH),
    errors=(NotFound, *VERSION_ERRORS),
    scope="quotas:write",
)


@get("/v1/quotas", operation_id="list_quotas", opt={"described": _LIST})
async def list_all_quotas(request: HttpRequest) -> Response[bytes]:
    """List the quotas, newest first: a manager sees all of them, an inference key those that may concern it."""
    who, values = await _reader(request), query_of(request, "limit", "cursor", "end_user")
    limit, after = page_of(values)
    asker = None if isinstance(who, Manager) else _asker(who, single(values, "end_user"))
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        page, cursor = cut(await list_quotas(conn, who.org_id, limit=limit + 1, after=after, asker=asker), limit)
    views = tuple(quota_view(one.quota, one.standings) for one in page)
    return json_reply(_encode(QuotaList(data=views, has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/quotas", operation_id="create_quota", opt={"described": _CREATE})
async def create_one_quota(request: HttpRequest) -> Response[bytes]:
    """Make a quota."""
    who, wanted = await manager(request), await read_json(request, _create)

    async def write(conn: Conn) -> Shown:
        made = await create_quota(conn, who.org_id, wanted)
        shown = await read_quota(conn, who.org_id, made.id)
        await record(conn, acted(request, who, made.id, after=quota_view(made)))
        return shown

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id), 201)


@get("/v1/quotas/{quota_id:str}", operation_id="get_quota", opt={"described": _GET})
async def get_one_quota(request: HttpRequest, quota_id: str) -> Response[bytes]:
    """One quota."""
    who, values = await manager(request), query_of(request, "subject")
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return _reply(await read_quota(conn, who.org_id, uuid_of(quota_id), single(values, "subject")))


@patch("/v1/quotas/{quota_id:str}", operation_id="change_quota", opt={"described": _CHANGE})
async def change_one_quota(request: HttpRequest, quota_id: str) -> Response[bytes]:
    """Rename a quota, raise or lower its limit, or make it soft or hard."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Shown:
        found = await lock_quota(conn, who.org_id, uuid_of(quota_id))
        require_match(request, found.version)
        changed = await change_quota(conn, found, change)
        shown = await read_quota(conn, who.org_id, found.id)
        if changed is not found:
            await record(conn, acted(request, who, found.id, before=quota_view(found), after=quota_view(changed)))
        return shown

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id))


@delete("/v1/quotas/{quota_id:str}", status_code=204, operation_id="delete_quota", opt={"described": _DELETE})
async def delete_one_quota(request: HttpRequest, quota_id: str) -> Response[None]:
    """Remove a quota."""
    who = await manager(request)

    async def write(conn: Conn) -> None:
        found = await lock_quota(conn, who.org_id, uuid_of(quota_id))
        require_match(request, found.version)
        await delete_quota(conn, found)
        await record(conn, acted(request, who, found.id, before=quota_view(found)))

    await transact(gateway_of(request).pool, write, of=who.org_id)
    return Response(None, status_code=204)


async def _reader(request: HttpRequest) -> Manager | Caller:
    return await manager(request) if well_formed(bearer(request), "management") else await authenticate(request)


def _asker(caller: Caller, end_user: str | None) -> Asker:
    return Asker(
        livemode=caller.livemode, project_id=caller.project_id, key_id=caller.key_id, end_user=end_user or caller.end_user
    )


def _reply(shown: Shown, status: int = 200) -> Response[bytes]:
    return json_reply(_encode(quota_view(shown.quota, shown.standings)), status, etag(shown.quota.version))
