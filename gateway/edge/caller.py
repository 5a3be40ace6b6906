"""From an HTTP request to a caller: an inference key that runs jobs. Who manages is told by gateway/edge/manager.py."""

from contextvars import ContextVar
from time import monotonic
from typing import Any, cast
from uuid import UUID

from litestar.connection import Request

from gateway.access.model import Caller, Manager, well_formed
from gateway.access.restrictions import refuse_address
from gateway.context import Gateway
from gateway.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from gateway.jobs.model import job_of
from gateway.video import Job, parse_public_id

HttpRequest = Request[Any, Any, Any]

_TOKEN_MAX = 255
_READS = ("GET", "HEAD")


class Noted:
    """What is known of the call that is being answered, for the request log."""

    __slots__ = ("by", "code", "job_id")

    def __init__(self) -> None:
        self.by: Caller | Manager | None = None
        self.code: str | None = None
        self.job_id: UUID | None = None


noted: ContextVar[Noted] = ContextVar("noted")
"""Set around every request (gateway/edge/middleware.py)."""


def gateway_of(request: HttpRequest) -> Gateway:
    return cast(Gateway, request.scope["litestar_app"].state["gateway"])  # a tenth of the cost of the attributes


def header(request: HttpRequest, name: bytes) -> str | None:
    """The value of a header, by its lower-case name, without building a mapping of all of them."""
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def authenticate(request: HttpRequest) -> Caller:
    """Raises Unauthenticated, Forbidden for a management key, KeyRestricted for one used from elsewhere, RateLimited."""
    token = bearer(request)
    if well_formed(token, "management"):
        raise Forbidden("a management key runs no jobs and reads none; send an inference key, tl_live_… or tl_test_…")
    gateway = gateway_of(request)
    caller = await gateway.authenticator.caller(token)
    noted.get().by = caller
    if caller.restrictions is not None:
        refuse_address(caller.restrictions, client_address(request))
    if request.method in _READS:
        gateway.reads.take(caller.key_id, monotonic())
    return caller


def client_address(request: HttpRequest) -> str:
    """Where the request comes from: the peer, or what a trusted proxy says of it (`trusted_proxies`); empty if unknown."""
    client = request.scope["client"]
    return client[0] if client else ""


def bearer(request: HttpRequest) -> str:
    """Raises Unauthenticated."""
    value = header(request, b"authorization") or ""
    if value[:7].lower() != "bearer ":
        raise Unauthenticated
    return value[7:].strip()


def idempotency_key(request: HttpRequest) -> str | None:
    """Raises InvalidRequest for an empty, overlong or unprintable key."""
    value = header(request, b"idempotency-key")
    if value is not None and not (0 < len(value) <= _TOKEN_MAX and value.isascii() and value.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters", param="Idempotency-Key")
    return value


def retry_count(request: HttpRequest) -> int:
    """How often a Stainless-made SDK says it has sent this request before; 0 for anything it could not have said."""
    value = header(request, b"x-stainless-retry-count") or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 3 else 0


def job_id(text: str) -> UUID:
    """Raises NotFound for anything that is not a job id: it names nothing."""
    parsed = parse_public_id(text)
    if parsed is None:
        raise NotFound
    return parsed


async def read_job(request: HttpRequest, caller: Caller, text: str) -> Job:
    """The caller's job, with its place in the queue and when it should be done. Raises NotFound."""
    gateway = gateway_of(request)
    row = await gateway.reader.job(caller.org_id, caller.project_id, job_id(text), livemode=caller.livemode)
    return gateway.quotes.expected(job_of(row))
