"""The log of webhook deliveries: what was told to whom, every try, and sending it again."""

import asyncio
from time import monotonic
from typing import Annotated, get_args

import msgspec
from litestar import Response, get, post
from msgspec import Meta

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Manager
from gateway.api.webhooks import id_after, webhook_manager, webhook_of
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.follow import next_change
from gateway.edge.query import integer, query_of, single
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.errors import (
    InvalidRequest,
    NotFound,
    TooLarge,
    UnsupportedContent,
    UnsupportedField,
    WebhooksOff,
)
from gateway.webhooks.deliveries import find_delivery, list_deliveries, resend, tries_of
from gateway.webhooks.endpoints import find_endpoint
from gateway.webhooks.events import OPENAI_EVENTS, EventName
from gateway.webhooks.model import Delivery, Outcome, State
from gateway.webhooks.post import post_sample
from gateway.webhooks.record import record_try
from gateway.webhooks.view import DeliveryDetail, DeliveryList, WebhookDelivery, delivery_view

WAIT_MAX_S = 30
_STATES: tuple[State, ...] = get_args(State)


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event: EventName


class Forwarded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a message that a listener handed on."""

    took_ms: Annotated[int, Meta(ge=0, le=600_000)]
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    error: Annotated[str, Meta(max_length=200)] | None = None


_encode = msgspec.json.Encoder().encode
_trigger = msgspec.json.Decoder(Trigger)
_forwarded = msgspec.json.Decoder(Forwarded)

_TAG = "Webhooks"
_ID = Parameter("webhook_id", "The id of an endpoint, or callbacks_live or callbacks_test.", str, "path")
_MESSAGE = Parameter("message_id", "The id of a delivery: its webhook-id.", str, "path")
_BODY = (InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent, WebhooksOff)
_ONE = (NotFound, WebhooksOff)
_READS, _WRITES = "webhooks:read", "webhooks:write"
_TRIGGER = Described(
    tag=_TAG,
    body=Trigger,
    answers={202: Answer("A delivery of an event that did not happen.", WebhookDelivery)},
    parameters=(_ID,),
    errors=(*_BODY, NotFound),
    scope=_WRITES,
)
_DELIVERIES = Described(
    tag=_TAG,
    answers={200: Answer("Deliveries.", DeliveryList)},
    parameters=(
        _ID,
        Parameter("state", "Only those in this state.", State),
        Parameter("after", "Only those behind the one with this id."),
        Parameter("limit", "At most this many, 1 to 100; default 20.", between(1, 100)),
        Parameter(
            "wait", f"Be answered only when there is one, or after so many seconds, {WAIT_MAX_S} at most.", between(0, WAIT_MAX_S)
        ),
    ),
    errors=(InvalidRequest, UnsupportedField, *_ONE),
    scope=_READS,
)
_DETAIL = Described(
    tag=_TAG, answers={200: Answer("All about it.", DeliveryDetail)}, parameters=(_MESSAGE,), errors=_ONE, scope=_READS
)
_RESEND = Described(
    tag=_TAG, answers={202: Answer("It is due now.", WebhookDelivery)}, parameters=(_MESSAGE,), errors=_ONE, scope=_WRITES
)
_OUTCOME = Described(
    tag=_TAG,
    body=Forwarded,
    answers={200: Answer("The delivery as it is now.", WebhookDelivery)},
    parameters=(_MESSAGE,),
    errors=(*_BODY, NotFound),
    scope=_WRITES,
)


@post("/v1/webhooks/{webhook_id:str}/trigger", status_code=202, operation_id="trigger_webhook", opt={"described": _TRIGGER})
async def trigger_webhook(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """Send an endpoint an event that did not happen, marked `sample`, whatever it is told otherwise."""
    who, gateway = await webhook_manager(request)
    wanted = await read_json(request, _trigger)

    async def write(conn: Conn) -> Delivery:
        endpoint = await webhook_of(conn, who, webhook_id)
        if endpoint.kind == "callbacks":
            raise InvalidRequest("callbacks have no address of their own; choose an endpoint", param="webhook_id")
        if endpoint.form == "openai" and wanted.event not in OPENAI_EVENTS:
            raise InvalidRequest(f"in this form there is only {', '.join(sorted(OPENAI_EVENTS))}", param="event")
        posted = await post_sample(conn, endpoint, wanted.event)
        await record(conn, acted(request, who, webhook_id, after=wanted))
        return posted

    posted = await transact(gateway.pool, write, of=who.org_id)
    gateway.changes.ring()
    return json_reply(_encode(delivery_view(posted)), 202)


@get("/v1/webhooks/{webhook_id:str}/deliveries", operation_id="list_webhook_deliveries", opt={"described": _DELIVERIES})
async def list_webhook_deliveries(request: HttpRequest, webhook_id: str) -> Response[bytes]:
    """List what an endpoint was told, or wait for the next there is to tell. Deliveries are kept for 30 days."""
    who, gateway = await webhook_manager(request)
    values = query_of(request, "state", "after", "limit", "wait")
    state, after = single(values, "state"), single(values, "after")
    if state is not None and state not in _STATES:
        raise InvalidRequest(f"state must be one of {', '.join(_STATES)}", param="state")
    limit = integer(values, "limit", default=20, least=1, most=100)
    until = monotonic() + integer(values, "wait", default=0, least=0, most=WAIT_MAX_S)
    behind = id_after("msg_", after) if after is not None else None
    async with tenant(gateway.pool, who.org_id) as conn:
        endpoint = await webhook_of(conn, who, webhook_id)
    while True:
        changed = next_change(gateway)
        try:
            async with tenant(gateway.pool, who.org_id) as conn:
                found = await list_deliveries(conn, who.org_id, endpoint.id, state=state, after=behind, limit=limit)
            left_s = until - monotonic()
            if found or left_s <= 0 or gateway.closing.is_set():
                return json_reply(_encode(DeliveryList(data=tuple(map(delivery_view, found)))))
            await asyncio.wait({changed}, timeout=left_s)
        finally:
            changed.cancel()


@get("/v1/webhook-deliveries/{message_id:str}", operation_id="get_webhook_delivery", opt={"described": _DETAIL})
async def get_webhook_delivery(request: HttpRequest, message_id: str) -> Response[bytes]:
    """One delivery with every try, and its message signed as it would be sent now."""
    who, gateway = await webhook_manager(request)
    async with tenant(gateway.pool, who.org_id) as conn:
        delivery = await _find(conn, who, message_id)
        tries = await tries_of(conn, delivery)
        endpoint = await find_endpoint(conn, delivery.org_id, delivery.endpoint_id)
    body = await gateway.message_body(delivery)
    message = gateway.webhook_secrets.message(endpoint, body, delivery_id=delivery.id) if body is not None else None
    detail = DeliveryDetail(
        delivery=delivery_view(delivery),
        tries=tuple(tries),
        headers=message.headers if message else None,
        body=message.body.decode() if message else None,
    )
    return json_reply(_encode(detail), headers={"cache-control": "no-store"})


@post(
    "/v1/webhook-deliveries/{message_id:str}/resend",
    status_code=202,
    operation_id="resend_webhook_delivery",
    opt={"described": _RESEND},
)
async def resend_webhook_delivery(request: HttpRequest, message_id: str) -> Response[bytes]:
    """Send a delivery once more, whatever became of it, under the same webhook-id."""
    who, gateway = await webhook_manager(request)

    async def write(conn: Conn) -> Delivery:
        again = await resend(conn, await _find(conn, who, message_id))
        await record(conn, acted(request, who, message_id))
        return again

    return json_reply(_encode(delivery_view(await transact(gateway.pool, write, of=who.org_id))), 202)


@post(
    "/v1/webhook-deliveries/{message_id:str}/outcome",
    status_code=200,
    operation_id="record_webhook_outcome",
    opt={"described": _OUTCOME},
)
async def record_webhook_outcome(request: HttpRequest, message_id: str) -> Response[bytes]:
    """Say what became of a message that a listener handed on; it is not offered again."""
    who, gateway = await webhook_manager(request)
    said = await read_json(request, _forwarded)

    async def write(conn: Conn) -> Delivery:
        delivery = await _find(conn, who, message_id)
        if (await find_endpoint(conn, delivery.org_id, delivery.endpoint_id)).kind != "listener":
            raise InvalidRequest("only what a listener fetched has an outcome that it can tell", param="message_id")
        outcome = Outcome(said.took_ms, said.status, said.error, lasting=True, ours=True)
        await record_try(conn, delivery.org_id, delivery.id, delivery.endpoint_id, tries=delivery.tries, outcome=outcome)
        return await _find(conn, who, message_id)

    return json_reply(_encode(delivery_view(await transact(gateway.pool, write, of=who.org_id))))


async def _find(conn: Conn, who: Manager, text: str) -> Delivery:
    """Raises NotFound."""
    return await find_delivery(conn, who.org_id, id_after("msg_", text))
