"""What comes to admission and what goes back; no I/O."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias
from uuid import UUID

import msgspec

from billing.errors import PriceMissing
from billing.pricing.model import Book, Dimensions
from billing.pricing.quote import Quote, quote
from gateway.access.model import Caller
from gateway.errors import InvalidRequest
from gateway.jobs.model import fingerprint
from gateway.quotas.model import Claim, amounts
from gateway.video import Job, VideoRequest

Token: TypeAlias = tuple[UUID, UUID, bool, str, str]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One request to run a job. `render` makes the answer's body; it is stored and replayed byte for byte."""

    caller: Caller
    job_id: UUID
    request: VideoRequest
    encoded: bytes
    fingerprint: bytes
    dialect: str
    status: int
    render: Callable[[Job], bytes]
    idempotency_key: str | None = None
    retry: int = 0
    """How often the client says it has sent this before (`x-stainless-retry-count`)."""

    @property
    def token(self) -> Token:
        """What an Idempotency-Key is unique within, and the key."""
        caller = self.caller
        return caller.org_id, caller.project_id, caller.livemode, self.dialect, self.idempotency_key or ""


class Admitted(msgspec.Struct, frozen=True):
    """The answer to give. `replayed`: it was given before; nothing was held or enqueued now."""

    job_id: UUID
    status: int
    body: bytes
    replayed: bool = False
    limits: Mapping[str, str] = MappingProxyType({})
    """What quotas have left, as header fields."""


def submission(
    caller: Caller,
    job_id: UUID,
    request: VideoRequest,
    *,
    dialect: str,
    status: int,
    render: Callable[[Job], bytes],
    idempotency_key: str | None,
    retry: int,
) -> Submission:
    """Completes a request with what admission stores and compares.

    Compared is what the client said, so that a key which is labelled anew in between does not make it another request.
    """
    asked, completed = msgspec.json.encode(request), caller.complete(request)
    return Submission(
        caller=caller,
        job_id=job_id,
        request=completed,
        encoded=asked if completed is request else msgspec.json.encode(completed),
        fingerprint=fingerprint(request, asked),
        dialect=dialect,
        status=status,
        render=render,
        idempotency_key=idempotency_key,
        retry=retry,
    )


def price(book: Book | None, request: VideoRequest) -> Quote:
    """What a request costs at most; the estimate, the hold and the charge all come from here. Raises InvalidRequest."""
    if book is None or not (book.listed or book.own):
        raise InvalidRequest("no prices are published in this organization's currency", param="model")
    want = Dimensions(request.model, request.task, request.resolution, request.fps, request.tier, request.audio)
    try:
        return quote(book, want, request.max_ms)
    except PriceMissing as error:
        raise InvalidRequest(f"there is no price for {error.detail}; choose another combination", param="model") from error


def claim_of(one: Submission, quoted: Quote) -> Claim:
    """What it may take of quotas."""
    video = quoted.terms.unit == "ms"
    return Claim(
        org_id=one.caller.org_id,
        livemode=one.caller.livemode,
        project_id=one.caller.project_id,
        key_id=one.caller.key_id,
        model=one.request.model,
        end_user=one.request.end_user or "",
        amounts=amounts(
            generated_ms=quoted.quantity if video else 0,
            money_micro=quoted.amount_micro,
            images=0 if video else quoted.quantity,
        ),
    )
