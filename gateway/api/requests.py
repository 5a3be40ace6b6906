"""/v1/requests, for managers: what each key asked in the last 30 days, and how often which calls failed."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, get
from msgspec import Meta

from billing.kit.pool import tenant
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of
from gateway.edge.query import integer, moment, query_of, single
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, UnsupportedField
from gateway.requests.model import Group, Logged
from gateway.requests.read import KEPT_DAYS, group_calls, list_calls
from gateway.video import public_id


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """A call that changed something or was refused. `price_micro` is of its job: held, and once that has ended, charged."""

    id: str
    object: Literal["request"] = "request"
    at: datetime
    project: str | None
    caller: Annotated[str, Meta(description="The id of the key or the member.")]
    method: str
    route: str
    status: int
    code: str | None
    duration_ms: int
    job: str | None
    request_id: str
    price_micro: int | None
    currency: str | None


class CallList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[CallView, ...]
    has_more: bool
    next_cursor: str | None


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    """Calls by route and outcome, the most frequent first; at most 200 groups."""

    object: Literal["list"] = "list"
    data: tuple[Group, ...]


_encode = msgspec.json.Encoder().encode
_KEY = Parameter("caller", "Only calls of this key or member, by id.")
_SPAN = (
    Parameter("since", f"Only from this moment on, such as 2026-11-01T00:00:00Z. Default: {KEPT_DAYS} days ago.", datetime),
    Parameter("until", "Only before this moment. Default: now.", datetime),
)
_ERRORS = (InvalidRequest, UnsupportedField)
_LIST = Described(
    tag="Requests",
    answers={200: Answer("A page of calls.", CallList)},
    parameters=(
        *PAGE,
        _KEY,
        Parameter("status", "Only calls answered with this status.", between(100, 599)),
        Parameter("code", "Only calls refused with this error code."),
        *_SPAN,
    ),
    errors=_ERRORS,
    scope="usage:read",
)
_GROUPS = Described(
    tag="Requests",
    answers={200: Answer("The groups.", GroupList)},
    parameters=(_KEY, *_SPAN),
    errors=_ERRORS,
    scope="usage:read",
)


@get("/v1/requests", operation_id="list_requests", opt={"described": _LIST})
async def list_requests(request: HttpRequest) -> Response[bytes]:
    """List the calls that changed something or were refused, newest first."""
    who = await manager(request)
    values = query_of(request, "limit", "cursor", "caller", "status", "code", "since", "until")
    limit, after = page_of(values)
    since, until = _span(values)
    status = integer(values, "status", default=0, least=100, most=599) or None
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        rows = await list_calls(
            conn,
            who.org_id,
            since=since,
            until=until,
            limit=limit + 1,
            after=after,
            caller_id=_caller(values),
            status=status,
            code=single(values, "code"),
        )
    page, cursor = cut(rows, limit)
    return json_reply(_encode(CallList(data=tuple(map(_view, page)), has_more=cursor is not None, next_cursor=cursor)))


@get("/v1/requests/groups", operation_id="group_requests", opt={"described": _GROUPS})
async def group_requests(request: HttpRequest) -> Response[bytes]:
    """Count all calls by route and outcome, with how long they took: what fails, how often, and one request id to ask about."""
    who, values = await manager(request), query_of(request, "caller", "since", "until")
    since, until = _span(values)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        groups = await group_calls(conn, who.org_id, since=since, until=until, caller_id=_caller(values))
    return json_reply(_encode(GroupList(data=tuple(groups))))


def _span(values: dict[str, list[str]]) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return moment(values, "since") or now - timedelta(days=KEPT_DAYS), moment(values, "until") or now


def _caller(values: dict[str, list[str]]) -> UUID | None:
    text = single(values, "caller")
    try:
        return None if text is None else UUID(text)
    except ValueError as error:
        raise InvalidRequest("caller must be the id of a key or a member", param="caller") from error


def _view(row: Logged) -> CallView:
    return CallView(
        id=row.id.hex,
        at=row.at,
        project=row.project_id and str(row.project_id),
        caller=str(row.caller_id),
        method=row.method,
        route=row.route,
        status=row.status,
        code=row.code,
        duration_ms=row.duration_ms,
        job=row.job_id and public_id(row.job_id),
        request_id=row.request_id,
        price_micro=row.price_micro,
        currency=row.currency,
    )
