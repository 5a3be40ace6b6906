"""/v1/fleet/replicas, for operators: what Triton servers there are, what is wanted of them, and what the dispatcher sees."""

import hmac

import msgspec
from litestar import Response, get, post

from gateway.edge.bodies import decode_json, read_body, read_json
from gateway.edge.caller import HttpRequest, gateway_of, header
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.replies import json_reply
from gateway.errors import (
    InvalidRequest,
    NotFound,
    ReplicaConflict,
    TooLarge,
    Unauthenticated,
    UnsupportedContent,
    UnsupportedField,
)
from gateway.fleet.registry.change import change
from gateway.fleet.registry.declare import register
from gateway.fleet.registry.model import VERBS, Verb
from gateway.fleet.registry.read import list_replicas, read_replica
from gateway.fleet.registry.view import ReplicaList, ReplicaView, view_of
from gateway.settings import ReplicaSettings

_REASON_BYTES_MAX = 4096


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; a quarantine needs it."""

    reason: str = ""


_encode = msgspec.json.Encoder().encode
_registration = msgspec.json.Decoder(ReplicaSettings)
_reason = msgspec.json.Decoder(Reason)
_NAME = Parameter("name", "The name of a replica.", str, "path")
_LIST = Described(tag="Fleet", operator=True, answers={200: Answer("Every replica, by name.", ReplicaList)})
_GET = Described(
    tag="Fleet", operator=True, answers={200: Answer("The replica.", ReplicaView)}, parameters=(_NAME,), errors=(NotFound,)
)
_BODY = (InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent)
_REGISTER = Described(
    tag="Fleet",
    operator=True,
    body=ReplicaSettings,
    answers={200: Answer("The replica as it is registered; the same again changes nothing.", ReplicaView)},
    errors=(*_BODY, ReplicaConflict),
)
_CHANGE = Described(
    tag="Fleet",
    operator=True,
    body=Reason,
    answers={200: Answer("The replica. What runs on it goes on, whatever was asked.", ReplicaView)},
    parameters=(_NAME, Parameter("verb", "What is wanted of it.", Verb, "path")),
    errors=(*_BODY, NotFound, ReplicaConflict),
)


@get("/v1/fleet/replicas", operation_id="list_replicas", opt={"described": _LIST})
async def list_all(request: HttpRequest) -> Response[bytes]:
    """List the replicas: where they are, what is wanted of them, and how they are."""
    require_operator(request)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        rows = await list_replicas(conn)
    return json_reply(_encode(ReplicaList(tuple(view_of(row) for row in rows))))


@get("/v1/fleet/replicas/{name:str}", operation_id="get_replica", opt={"described": _GET})
async def get_one(request: HttpRequest, name: str) -> Response[bytes]:
    """One replica, also one that was removed."""
    require_operator(request)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        return json_reply(_encode(view_of(await read_replica(conn, name))))


@post("/v1/fleet/replicas", operation_id="register_replica", opt={"described": _REGISTER})
async def register_one(request: HttpRequest) -> Response[bytes]:
    """Register a replica, change one that was registered here, or bring one back: it is given jobs as soon as it answers."""
    require_operator(request)
    gateway, wanted = gateway_of(request), await read_json(request, _registration)
    async with gateway.pool.acquire(timeout=5) as conn, conn.transaction():
        return json_reply(_encode(view_of(await register(conn, wanted, gateway.models))))


@post("/v1/fleet/replicas/{name:str}/{verb:str}", operation_id="change_replica", opt={"described": _CHANGE})
async def change_one(request: HttpRequest, name: str, verb: str) -> Response[bytes]:
    """Cordon or uncordon a replica, drain it, remove it, put it in quarantine or release it."""
    require_operator(request)
    if verb not in VERBS:
        raise NotFound(f"{verb} is nothing a replica does; use {', '.join(VERBS)}")
    body = await read_body(request, _REASON_BYTES_MAX)
    reason = decode_json(body, _reason).reason if body else ""
    async with gateway_of(request).pool.acquire(timeout=5) as conn, conn.transaction():
        return json_reply(_encode(view_of(await change(conn, name, verb, reason))))


def require_operator(request: HttpRequest) -> None:
    """Raises Unauthenticated, also where no operator token is set."""
    wanted = gateway_of(request).settings.operator_token.reveal().encode()
    value = (header(request, b"authorization") or "").encode()
    if not wanted or value[:7].lower() != b"bearer " or not hmac.compare_digest(value[7:].strip(), wanted):
        raise Unauthenticated("This route is for operators. Send the operator token as 'Authorization: Bearer …'.")
