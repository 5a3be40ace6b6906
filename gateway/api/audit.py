"""/v1/audit, for managers: who did what to the organization, who was refused, and the end of that trail."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from msgspec import Meta

from billing.kit.pool import tenant
from gateway.audit.model import Actor, Entry
from gateway.audit.read import Sought, entries_after
from gateway.audit.verify import head_of
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.manager import manager
from gateway.edge.query import integer, moment, query_of, single
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, UnsupportedField


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """An entry. `refused` is a refusal's code, null where it was done; `before` and `after` are the object as it is shown."""

    object: Literal["audit_entry"] = "audit_entry"
    position: int
    at: datetime
    actor: Actor
    action: str
    object_id: str
    refused: str | None
    before: msgspec.Raw
    after: msgspec.Raw
    address: str | None
    request_id: str | None
    digest: Annotated[str, Meta(description="Hexadecimal; it follows from the entry and the digest before it.")]


class EntryList(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, oldest first; ask again with `after` = the last one's position. `head` is the end of the whole trail: keep it."""

    object: Literal["list"] = "list"
    data: tuple[EntryView, ...]
    head: Annotated[str, Meta(description="`position:digest`; `tallylight audit verify --head` checks it later.")]


_encode = msgspec.json.Encoder().encode
_OUTCOMES = {"done": False, "refused": True}
_POSITION_MAX = 2**63 - 1
_LIST = Described(
    tag="Organization",
    answers={200: Answer("Entries.", EntryList)},
    parameters=(
        Parameter("after", "Only entries behind this position; default 0, the beginning.", between(0, _POSITION_MAX)),
        Parameter("limit", "At most this many, 1 to 1000; default 100.", between(1, 1000)),
        Parameter("action", "Only this action, such as key.revoke, or all of key."),
        Parameter("object", "Only what was done to the object of this id."),
        Parameter("actor", "Only what this key or member did, by id."),
        Parameter("outcome", "Only what was done, or only what was refused.", Literal["done", "refused"]),
        Parameter("since", "Only from this moment on, such as 2026-11-01T00:00:00Z.", datetime),
        Parameter("until", "Only before this moment.", datetime),
    ),
    errors=(InvalidRequest, UnsupportedField),
    scope="audit:read",
)


@get("/v1/audit", operation_id="list_audit_entries", opt={"described": _LIST})
async def list_audit_entries(request: HttpRequest) -> Response[bytes]:
    """List who did what to the organization and who was refused. Nothing in it is ever changed or removed."""
    who, values = await manager(request), query_of(request, *(one.name for one in _LIST.parameters))
    after = integer(values, "after", default=0, least=0, most=_POSITION_MAX)
    limit = integer(values, "limit", default=100, least=1, most=1000)
    outcome = single(values, "outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        raise InvalidRequest(f"outcome must be one of {', '.join(_OUTCOMES)}", param="outcome")
    want = Sought(
        action=single(values, "action"),
        object_id=single(values, "object"),
        actor_id=single(values, "actor"),
        refused=None if outcome is None else _OUTCOMES[outcome],
        since=moment(values, "since"),
        until=moment(values, "until"),
    )
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        found = await entries_after(conn, who.org_id, after, want, limit=limit)
        head = await head_of(conn, who.org_id)
    return json_reply(_encode(EntryList(data=tuple(map(_view, found)), head=str(head))))


def _view(entry: Entry) -> EntryView:
    return EntryView(
        position=entry.position,
        at=entry.at,
        actor=msgspec.json.decode(entry.actor, type=Actor),
        action=entry.action,
        object_id=entry.object_id,
        refused=entry.refused,
        before=_raw(entry.before),
        after=_raw(entry.after),
        address=entry.address,
        request_id=entry.request_id,
        digest=entry.digest.hex(),
    )


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if text is None else text.encode())
