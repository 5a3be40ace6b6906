"""POST /v1/leaked-keys, for scanners of code and whoever else found a key: it is revoked, and they learn nothing."""

import hashlib
from time import monotonic
from typing import Annotated, Literal

import msgspec
from litestar import Response, post
from msgspec import Meta

from billing.kit.pool import transact
from billing.kit.query import Conn
from gateway.access.revoke import Leaked, could_be_key, revoke_leaked
from gateway.audit.model import Action, Actor, Origin
from gateway.audit.record import record
from gateway.edge.bodies import decode_json, read_body
from gateway.edge.caller import HttpRequest, client_address, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.replies import json_reply
from gateway.errors import InvalidRequest, RateLimited, TooLarge
from gateway.telemetry.logs import answering

_BODY_BYTES_MAX = 64 * 1024
_EVERY_S, _BURST = 0.2, 20


class FoundKey(msgspec.Struct, frozen=True):
    """A token that was found, as scanners report it; other fields are not read."""

    token: Annotated[str, Meta(max_length=255)]
    type: Annotated[str, Meta(max_length=100, description="What the scanner calls this kind of token.")] = ""
    url: Annotated[str, Meta(max_length=2000, description="Where it was found.")] = ""


class Verdict(msgspec.Struct, frozen=True):
    """Whether it has the form and the checksum of a key; whether there was such a key is not told."""

    token_hash: Annotated[str, Meta(description="SHA-256 of the token, in hexadecimal.")]
    token_type: str
    label: Literal["true_positive", "false_positive"]


_Report = Annotated[tuple[FoundKey, ...], Meta(min_length=1, max_length=100)]
_decode = msgspec.json.Decoder(_Report)
_encode = msgspec.json.Encoder().encode
_LEAKED = Described(
    tag="Keys",
    body=_Report,
    answers={200: Answer("One verdict for each token, in order. Keys among them are revoked.", tuple[Verdict, ...])},
    errors=(InvalidRequest, TooLarge, RateLimited),
    public=True,
)


class _Bucket:
    """Lets through one each `_EVERY_S`, and `_BURST` at once after a pause."""

    def __init__(self) -> None:
        self._full_at = 0.0

    def take(self) -> None:
        """Raises RateLimited."""
        now = monotonic()
        full_at = max(self._full_at, now) + _EVERY_S
        if full_at - now > _EVERY_S * _BURST:
            raise RateLimited(retry_after_s=1)
        self._full_at = full_at


_bucket = _Bucket()


@post("/v1/leaked-keys", status_code=200, operation_id="report_leaked_keys", opt={"described": _LEAKED})
async def report_leaked_keys(request: HttpRequest) -> Response[bytes]:
    """Revoke keys that were found where they should not be.

    No key is needed: whoever holds one may end it. The body and the answer are those of GitHub's secret scanning.
    """
    _bucket.take()
    found = decode_json(await read_body(request, _BODY_BYTES_MAX), _decode)
    urls = {one.token: one.url for one in found}

    async def write(conn: Conn) -> None:
        leaked = await revoke_leaked(conn, urls)
        await record(conn, *[_action(request, one, urls[one.token]) for one in leaked])

    await transact(gateway_of(request).pool, write)
    return json_reply(_encode([_verdict(one) for one in found]))


def _action(request: HttpRequest, leaked: Leaked, url: str) -> Action:
    """Whoever reports it is known by nothing but the key itself."""
    return Action(
        org_id=leaked.org_id,
        actor=Actor("key", str(leaked.key_id), leaked.name),
        name="key.leaked",
        object_id=str(leaked.key_id),
        after={"state": "revoked", "revoked_because": "leaked", "found_at": url},
        origin=Origin(client_address(request) or None, answering.get(None)),
    )


def _verdict(found: FoundKey) -> Verdict:
    label: Literal["true_positive", "false_positive"] = "true_positive" if could_be_key(found.token) else "false_positive"
    return Verdict(hashlib.sha256(found.token.encode()).hexdigest(), found.type, label)
