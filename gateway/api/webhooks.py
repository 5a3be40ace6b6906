"""/v1/webhooks: the endpoints that are told what happens, and their secrets. Deliveries stand beside this file."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, delete, get, patch, post
from msgspec import UNSET, Meta, UnsetType

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Manager
from gateway.audit.record import record
from gateway.context import Gateway
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.egress.errors import UrlRefused
from gateway.errors import (
    InvalidRequest,
    NotFound,
    TooLarge,
    UnsupportedContent,
    UnsupportedField,
    WebhooksOff,
)
from gateway.webhooks.endpoints import (
    add_endpoint,
    callbacks_of,
    change_endpoint,
    find_endpoint,
    list_endpoints,
    remove_endpoint,
    rotate_secret,
)
from gateway.webhooks.events import EventName
from gateway.webhooks.model import OVERLAP_S, Endpoint, EndpointForm
from gateway.webhooks.view import CALLBACKS, Webhook, WebhookList, WebhookSecret, webhook_view

_Url = Annotated[str, Meta(max_length=2048, description="https://, reachable from the internet, answering 2xx within 20 s.")]
_Events = Annotated[tuple[EventName, ...], Meta(max_length=64, description="Only these; none: all.")]
_About = Annotated[str, Meta(max_length=200)]


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of jobs with live keys and of money, or of jobs with test keys. Without a `url` it is a listener: deliveries wait to be
    fetched, and it is removed after a day.
    """

    livemode: bool = True
    url: _Url | None = None
    form: EndpointForm = "native"
    events: _Events = ()
    description: _About = ""


class ChangeWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays as it is. Enabling starts anew: what waits is sent."""

    url: _Url | UnsetType = UNSET
    form: EndpointForm | UnsetType = UNSET
    events: _Events | UnsetType = UNSET
    description: _About | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class Rotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    overlap_s: Annotated[int, Meta(ge=0, le=30 * 86400, description="How long the old secret stays valid beside it.")] = OVERLAP_S


_encode = msgspec.json.Encoder().encode
_create = msgspec.json.Decoder(CreateWebhook)
_change = msgspec.json.Decoder(ChangeWebhook)
_rotate = msgspec.json.Decoder(Rotate)
_TAG = "Webhooks"
_ID = Parameter("webhook_id", "The id of an endpoint, or callbacks_live or callbacks_test.", str, "path")
_BODY = (InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent, WebhooksOff)
_ONE = (NotFound, WebhooksOff)
_READS, _WRITES = "webhooks:read", "webhooks:write"
_CREATE = Described(
    tag=_TAG, body=CreateWebhook, answers={201: Answer("The endpoint.", Webhook, headers=ETAG)}, errors=_BODY, scope=_WRITES
)
_LIST = Described(
    tag=_TAG,
    answers={200: Answer("All endpoints, the newest first.", WebhookList)},
    errors=(UnsupportedField, WebhooksOff),
    scope=_READS,
)
_GET = Described(
    tag=_TAG, answers={200: Answer("The endpoint.", Webhook, headers=ETAG)}, parameters=(_ID,), errors=_ONE, scope=_READS
)
_CHANGE = Described(
    tag=_TAG,
    body=ChangeWebhook,
    answers={200: Answer("The endpoint as it is now.", Webhook, headers=ETAG)},
    parameters=(_ID, IF_MATCH),
    errors=(*_BODY, NotFound, *VERSION_ERRORS),
    scope=_WRITES,
)
_DELETE = Described(
    tag=_TAG,
    answers={204: Answer("It is gone, with its deliveries.", empty=True)},
    parameters=(_ID,),
    errors=(InvalidRequest, *_ONE),
    scope=_WRITES,
)
_SECRET = Described(tag=_TAG, answers={200: Answer("The secrets.", WebhookSecret)}, parameters=(_ID,), errors=_ONE, scope=_WRITES)
_ROTATE = Described(
    tag=_TAG,
    body=Rotate,
    answers={200: Answer("The new secret, and the old one while it is valid.", WebhookSecret)},
    parameters=(_ID,),
    errors=(*_BODY, NotFound),
    scope=_WRITES,
)


@post("/v1/webhooks", status_code=201, operation_id="create_webhook", opt={"described": _CREATE})
async def create_webhook(request: HttpRequest) -> Response[bytes]:
    """Add an endpoint that is told what happens to the organization's jobs and money. GET its secret to verify messages.

    A message is `{"type": …, "timestamp": …, "data": …}`, where `data` is the job as GET /v1/jobs/{id} answers it, or the facts
    of an event about money; in OpenAI's form it is an event that names the video. It is signed as Standard Webhooks says.
    """
    who, gateway = await webhook_manager(request)
    wanted = await read_json(request, _create)
    if wanted.url is not None:
        _check(gateway, wanted.url)

    async def write(conn: Conn) -> Endpoint:
        added = await add_endpoint(conn, who.org_id, **msgspec.structs.asdict(wanted))
        await record(conn, acted(request, who, webhook_view(added).id, after=webhook_view(added)))
        return added

    return _reply(await transact(gateway.pool, write, of=who.org_id), 201)


@get("/v1/webhooks", operation_id="list_webhooks", opt={"described": _LIST})
async def list_webhooks(request: HttpRequest) -> Response[bytes]:
    """List the organization's endpoints; there are few."""
    who, gateway = await webhook_manager(request)
    query_of(request)
    async with tenant(gateway.pool, who.org_id) as conn:
        found = await list_endpoints(conn, who.org_id)
    return json_reply(_encode(WebhookList(data=tuple(map(webhook_view, found)))))


@get("/v1/webhooks/{webhook_id:str}", operation_id="get_webhook", opt={"described": _GET})
async def get_webhook(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """One endpoint: whether it is enabled, and since when it fails."""
    who, gateway = await webhook_manager(request)
    async with tenant(gateway.pool, who.org_id) as conn:
        return _reply(await webhook_of(conn, who, webhook_id))


@patch("/v1/webhooks/{webhook_id:str}", operation_id="change_webhook", opt={"described": _CHANGE})
async def change_webhook(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """Change an endpoint, disable it or enable it again; what is left out stays."""
    who, gateway = await webhook_manager(request)
    wanted = await read_json(request, _change)
    given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
    if "url" in given:
        _check(gateway, given["url"])

    async def write(conn: Conn) -> Endpoint:
        found = await webhook_of(conn, who, webhook_id, lock=True)
        require_match(request, found.version)
        changed = await change_endpoint(conn, found, **given)
        await record(conn, acted(request, who, webhook_id, before=webhook_view(found), after=webhook_view(changed)))
        return changed

    return _reply(await transact(gateway.pool, write, of=who.org_id))


@delete("/v1/webhooks/{webhook_id:str}", status_code=204, operation_id="delete_webhook", opt={"described": _DELETE})
async def delete_webhook(request: HttpRequest, webhook_id: str) -> Response[None]:
    """Remove an endpoint and its deliveries."""
    who, gateway = await webhook_manager(request)

    async def write(conn: Conn) -> None:
        found = await webhook_of(conn, who, webhook_id, lock=True)
        await remove_endpoint(conn, found)
        await record(conn, acted(request, who, webhook_id, before=webhook_view(found)))

    await transact(gateway.pool, write, of=who.org_id)
    return Response(None, status_code=204)


@get("/v1/webhooks/{webhook_id:str}/secret", operation_id="get_webhook_secret", opt={"described": _SECRET})
async def get_webhook_secret(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """The secret that an endpoint's messages are signed with, for a library of Standard Webhooks."""
    who, gateway = await webhook_manager(request)
    async with tenant(gateway.pool, who.org_id) as conn:
        return _secret_reply(gateway, await webhook_of(conn, who, webhook_id))


@post("/v1/webhooks/{webhook_id:str}/rotate", status_code=200, operation_id="rotate_webhook_secret", opt={"described": _ROTATE})
async def rotate_webhook_secret(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """Replace a secret. For a while messages are signed with both, so that a receiver may change over when it likes."""
    (who, gateway), body = await webhook_manager(request), await read_json(request, _rotate)

    async def write(conn: Conn) -> Endpoint:
        rotated = await rotate_secret(conn, await webhook_of(conn, who, webhook_id, lock=True), overlap_s=body.overlap_s)
        await record(conn, acted(request, who, webhook_id, after=webhook_view(rotated)))
        return rotated

    return _secret_reply(gateway, await transact(gateway.pool, write, of=who.org_id))


async def webhook_manager(request: HttpRequest) -> tuple[Manager, Gateway]:
    """Who manages webhooks. Raises the errors of `manager`, WebhooksOff."""
    who, gateway = await manager(request), gateway_of(request)
    if not gateway.settings.webhook_secret:
        raise WebhooksOff
    return who, gateway


async def webhook_of(conn: Conn, who: Manager, text: str, *, lock: bool = False) -> Endpoint:
    """The organization's endpoint. Raises NotFound."""
    if text in CALLBACKS:
        return await callbacks_of(conn, who.org_id, livemode=CALLBACKS[text])
    return await find_endpoint(conn, who.org_id, id_after("we_", text), lock=lock)


def id_after(prefix: str, text: str) -> UUID:
    """Raises NotFound for anything that is no id of this kind: it names nothing."""
    digits = text.removeprefix(prefix)
    if digits == text or len(digits) != 32 or not digits.isascii() or not digits.isalnum():
        raise NotFound
    try:
        return UUID(hex=digits)
    except ValueError as error:
        raise NotFound from error


def _check(gateway: Gateway, url: str) -> None:
    try:
        gateway.fetcher.check(url)
    except UrlRefused as error:
        raise InvalidRequest(f"url: {error.detail}", param="url") from error


def _reply(row: Endpoint, status: int = 200) -> Response[bytes]:
    return json_reply(_encode(webhook_view(row)), status, etag(row.version))


def _secret_reply(gateway: Gateway, row: Endpoint) -> Response[bytes]:
    secrets = gateway.webhook_secrets
    shown = WebhookSecret(
        secret=secrets.of(row.org_id, row.id, row.generation),
        previous=secrets.of(row.org_id, row.id, row.generation - 1) if row.old_valid else None,
        previous_until=row.old_until if row.old_valid else None,
    )
    return json_reply(_encode(shown), headers={"cache-control": "no-store"})
