"""The way in that all dialects share: the request is resolved, its images are checked and stored, then it is admitted."""

from collections.abc import Callable, Sequence

import msgspec

from billing.kit.ids import new_id
from gateway.access.model import Caller
from gateway.access.restrictions import refuse_request
from gateway.context import Gateway
from gateway.edge.caller import HttpRequest, gateway_of, idempotency_key, noted, retry_count
from gateway.edge.inputs import Image, discard, keep, store_images
from gateway.egress.errors import UrlRefused
from gateway.errors import (
    FleetBusy,
    FreeBudgetSpent,
    GatewayError,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidRequest,
    NoSpace,
    OutcomeUnknown,
    PlanPastDue,
    QuotaExceeded,
    UnknownModel,
    UnsupportedField,
)
from gateway.submission import Admitted, submission
from gateway.video import Ask, Job, ModelLimits, resolve

ADMISSION_ERRORS = (
    InsufficientBalance,
    PlanPastDue,
    IdempotencyInProgress,
    IdempotencyMismatch,
    FreeBudgetSpent,
    QuotaExceeded,
    FleetBusy,
    OutcomeUnknown,
    NoSpace,
)
"""What the way in may answer in any dialect, beside what is wrong with the request itself."""


def limits_of(gateway: Gateway, name: str) -> ModelLimits:
    """Raises UnknownModel."""
    found = gateway.models.get(name)
    if found is None:
        raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(sorted(gateway.models))}", param="model")
    return found


def check_callback(gateway: Gateway, url: str) -> None:
    """Raises UnsupportedField where there are no webhooks, InvalidRequest for what is never called."""
    if not gateway.settings.webhook_secret:
        raise UnsupportedField("callback_url: this gateway has no webhooks; poll the job", param="callback_url")
    try:
        gateway.fetcher.check(url)
    except UrlRefused as error:
        raise InvalidRequest(f"callback_url: {error.detail}", param="callback_url") from error


async def submit(
    request: HttpRequest,
    caller: Caller,
    ask: Ask,
    images: Sequence[Image],
    *,
    dialect: str,
    status: int,
    render: Callable[[Job], bytes],
) -> Admitted:
    """Admits what a client asked for. Raises the GatewayError to answer with; then nothing is held or kept."""
    gateway = gateway_of(request)
    if gateway.headroom.short():
        raise NoSpace(retry_after_s=60)
    job_id, key, retry = new_id(), idempotency_key(request), retry_count(request)
    org, job = caller.org_id.hex, job_id.hex
    limits = limits_of(gateway, ask.model)
    if ask.callback_url is not None:
        check_callback(gateway, ask.callback_url)
    named = tuple(image.named for image in images)
    video = resolve(ask, limits, queue_deadline_s=gateway.settings.queue_deadline_s, inputs=named)
    if caller.restrictions is not None:
        refuse_request(caller.restrictions, video)
    try:
        if images:
            video = msgspec.structs.replace(video, inputs=await store_images(gateway, caller, images, job))
        admitted = await gateway.admission.admit(
            submission(caller, job_id, video, dialect=dialect, status=status, render=render, idempotency_key=key, retry=retry)
        )
    except GatewayError as error:
        if images and not isinstance(error, OutcomeUnknown):  # that job may exist, and then it needs its images
            await discard(gateway, org, job)
        raise
    if images and admitted.replayed:
        await discard(gateway, org, job)
    elif images:
        await keep(gateway, org, job)
    noted.get().job_id = admitted.job_id
    return admitted
