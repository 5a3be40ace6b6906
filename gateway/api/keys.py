"""/v1/keys, for managers: create, list, read, change, rotate and revoke; /v1/leaked-keys, for whoever found some."""

from datetime import datetime
from typing import Annotated, get_args

import msgspec
from litestar import Response, get, patch, post
from msgspec import UNSET, Meta, UnsetType

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.keys import add_key, change_key, list_keys, read_key
from gateway.access.managers import require_within
from gateway.access.model import Key, KeyKind, KeySettings, Label, Name
from gateway.access.restrictions import Addresses, Models, Resolution, Restrictions, SecondsMax
from gateway.access.revoke import revoke_key
from gateway.access.rotate import OVERLAP_S_MAX, rotate_key
from gateway.access.scopes import Scope
from gateway.access.view import KeyList, KeyView, NewKeyView, key_view, new_key_view
from gateway.api.organizations import BODY_ERRORS
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.merge import merged
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of, single
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, NotFound, UnsupportedField
from gateway.video import Tier


class CreateKey(KeySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inference key of a project, or a management key with scopes; give no scopes that you do not have."""

    kind: KeyKind = "inference"
    project_id: Annotated[str | UnsetType, Meta(description="If not given, the project named `default`.")] = UNSET
    livemode: Annotated[bool, Meta(description="False: play money, and always the test card.")] = True


class ChangeRestrictions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays, what is null is lifted."""

    models: Models | UnsetType | None = UNSET
    tier_max: Tier | UnsetType | None = UNSET
    resolution_max: Resolution | UnsetType | None = UNSET
    seconds_max: SecondsMax | UnsetType | None = UNSET
    addresses: Addresses | UnsetType | None = UNSET


class ChangeKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """JSON Merge Patch (RFC 7396): what is left out stays, what is null is unset, also label by label."""

    name: Name | UnsetType = UNSET
    lenient: bool | UnsetType = UNSET
    scopes: tuple[Scope, ...] | UnsetType = UNSET
    labels: dict[Label, Label | None] | UnsetType | None = UNSET
    end_user: Label | UnsetType | None = UNSET
    restrictions: ChangeRestrictions | UnsetType | None = UNSET
    expires_at: Annotated[datetime, Meta(tz=True)] | UnsetType | None = UNSET


class RotateKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the secret before still works, in seconds; 0: it is dead at once."""

    overlap_s: Annotated[int, Meta(ge=0, le=OVERLAP_S_MAX)] = 86400


_encode = msgspec.json.Encoder().encode
_create, _change = msgspec.json.Decoder(CreateKey), msgspec.json.Decoder(ChangeKey)
_rotate = msgspec.json.Decoder(RotateKey)
_SECRET = {"cache-control": "no-store"}
_ID = Parameter("key_id", "The id of a key.", str, "path")
_LIST = Described(
    tag="Keys",
    answers={200: Answer("A page of keys, those that were revoked among them.", KeyList)},
    parameters=(
        *PAGE,
        Parameter("project_id", "Only keys of this project."),
        Parameter("kind", "Only keys of this kind.", KeyKind),
    ),
    errors=(InvalidRequest, UnsupportedField, NotFound),
    scope="keys:read",
)
_CREATE = Described(
    tag="Keys",
    body=CreateKey,
    answers={201: Answer("The key, with its secret this once.", NewKeyView, headers=ETAG)},
    errors=(*BODY_ERRORS, NotFound),
    scope="keys:write",
)
_GET = Described(
    tag="Keys",
    answers={200: Answer("The key.", KeyView, headers=ETAG)},
    parameters=(_ID,),
    errors=(NotFound,),
    scope="keys:read",
)
_CHANGE = Described(
    tag="Keys",
    body=ChangeKey,
    answers={200: Answer("As it is now; every process follows within half a second.", KeyView, headers=ETAG)},
    parameters=(_ID, IF_MATCH),
    errors=(*BODY_ERRORS, NotFound, *VERSION_ERRORS, Conflict),
    scope="keys:write",
)
_ROTATE = Described(
    tag="Keys",
    body=RotateKey,
    answers={200: Answer("The key with its new secret, this once. Its id, quotas and usage stay.", NewKeyView, headers=ETAG)},
    parameters=(_ID,),
    errors=(*BODY_ERRORS, NotFound, Conflict),
    scope="keys:write",
)
_REVOKE = Described(
    tag="Keys",
    answers={200: Answer("The key, dead everywhere within half a second. Again, it changes nothing.", KeyView, headers=ETAG)},
    parameters=(_ID,),
    errors=(NotFound,),
    scope="keys:write",
)


@get("/v1/keys", operation_id="list_keys", opt={"described": _LIST})
async def list_all_keys(request: HttpRequest) -> Response[bytes]:
    """List the organization's keys, newest first."""
    who, values = await manager(request), query_of(request, "limit", "cursor", "project_id", "kind")
    (limit, after), kind, project = page_of(values), single(values, "kind"), single(values, "project_id")
    if kind is not None and kind not in get_args(KeyKind):
        raise InvalidRequest(f"kind must be one of {', '.join(get_args(KeyKind))}", param="kind")
    project_id = None if project is None else uuid_of(project)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        rows = await list_keys(conn, who.org_id, limit=limit + 1, after=after, project_id=project_id, kind=kind)
    page, cursor = cut(rows, limit)
    return json_reply(_encode(KeyList(data=tuple(map(key_view, page)), has_more=cursor is not None, next_cursor=cursor)))


@post("/v1/keys", operation_id="create_key", opt={"described": _CREATE})
async def create_one_key(request: HttpRequest) -> Response[bytes]:
    """Create a key. Its secret is in this answer and nowhere else: only its hash is stored."""
    who, body = await manager(request), await read_json(request, _create)
    require_within(who, body.scopes)
    _require_known(request, body.restrictions)
    project = "default" if body.project_id is UNSET else uuid_of(body.project_id)
    settings = msgspec.convert(body, KeySettings, from_attributes=True)

    async def write(conn: Conn) -> tuple[Key, str]:
        key_id, token = await add_key(conn, who.org_id, settings, kind=body.kind, livemode=body.livemode, project=project)
        made = await read_key(conn, who.org_id, key_id)
        await record(conn, acted(request, who, key_id, after=key_view(made)))
        return made, token

    return _with_secret(*await transact(gateway_of(request).pool, write, of=who.org_id), 201)


@get("/v1/keys/{key_id:str}", operation_id="get_key", opt={"described": _GET})
async def get_one_key(request: HttpRequest, key_id: str) -> Response[bytes]:
    """One key."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return _reply(await read_key(conn, who.org_id, uuid_of(key_id)))


@patch("/v1/keys/{key_id:str}", operation_id="change_key", opt={"described": _CHANGE})
async def change_one_key(request: HttpRequest, key_id: str) -> Response[bytes]:
    """Change what a key may do, how it is labelled or when it expires."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Key:
        found = await read_key(conn, who.org_id, uuid_of(key_id), lock=True)
        require_match(request, found.version)
        current = found.settings()
        settings = merged(current, change)
        require_within(who, (*current.scopes, *settings.scopes))
        if settings.restrictions != current.restrictions:
            _require_known(request, settings.restrictions)
        if settings == current:
            return found
        changed = await change_key(conn, who.org_id, found, settings)
        await record(conn, acted(request, who, found.id, before=key_view(found), after=key_view(changed)))
        return changed

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id))


@post("/v1/keys/{key_id:str}/rotate", status_code=200, operation_id="rotate_key", opt={"described": _ROTATE})
async def rotate_one_key(request: HttpRequest, key_id: str) -> Response[bytes]:
    """Give a key a new secret; the one before works for `overlap_s` more."""
    who, body = await manager(request), await read_json(request, _rotate)

    async def write(conn: Conn) -> tuple[Key, str]:
        found = await read_key(conn, who.org_id, uuid_of(key_id), lock=True)
        require_within(who, found.settings().scopes)
        token = await rotate_key(conn, who.org_id, found, overlap_s=body.overlap_s)
        rotated = await read_key(conn, who.org_id, found.id)
        await record(conn, acted(request, who, found.id, before=key_view(found), after=key_view(rotated)))
        return rotated, token

    return _with_secret(*await transact(gateway_of(request).pool, write, of=who.org_id), 200)


@post("/v1/keys/{key_id:str}/revoke", status_code=200, operation_id="revoke_key", opt={"described": _REVOKE})
async def revoke_one_key(request: HttpRequest, key_id: str) -> Response[bytes]:
    """Revoke a key, with both its secrets, for good."""
    who = await manager(request)

    async def write(conn: Conn) -> Key:
        found = await read_key(conn, who.org_id, uuid_of(key_id), lock=True)
        if found.state == "revoked":
            return found
        revoked = await revoke_key(conn, who.org_id, found.id)
        await record(conn, acted(request, who, found.id, before=key_view(found), after=key_view(revoked)))
        return revoked

    return _reply(await transact(gateway_of(request).pool, write, of=who.org_id))


def _require_known(request: HttpRequest, restrictions: Restrictions) -> None:
    known = gateway_of(request).models
    for name in restrictions.models or ():
        if name not in known:
            raise InvalidRequest(
                f"there is no model {name!r}; there are: {', '.join(sorted(known))}", param="restrictions.models"
            )


def _reply(key: Key) -> Response[bytes]:
    return json_reply(_encode(key_view(key)), headers=etag(key.version))


def _with_secret(key: Key, token: str, status: int) -> Response[bytes]:
    return json_reply(_encode(new_key_view(key, token)), status, {**etag(key.version), **_SECRET})
