"""The way in that all dialects share: images are checked and stored, the request is resolved, then it is admitted."""

import contextlib
from collections.abc import Callable, Sequence

import msgspec

from billing.kit.ids import new_id
from gateway.access.model import Caller
from gateway.context import Gateway
from gateway.edge.caller import HttpRequest, gateway_of, idempotency_key, retry_count
from gateway.errors import (
    FreeBudgetSpent,
    GatewayError,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidMedia,
    InvalidRequest,
    NoSpace,
    OutcomeUnknown,
    PlanPastDue,
    QuotaExceeded,
    Unavailable,
    UnknownModel,
)
from gateway.media.errors import DecoderUnavailable, ImageRejected, StoreError
from gateway.media.images import ImageLimits, probe_image
from gateway.media.keys import input_key, job_prefix, pending_key
from gateway.submission import Admitted, submission
from gateway.video import Ask, InputMedia, Job, ModelLimits, Role, resolve

IMAGE_LIMITS = ImageLimits(bytes=20 << 20, pixels=40_000_000, edge=8192)
IMAGES_MAX = 8
ADMISSION_ERRORS = (
    InsufficientBalance,
    PlanPastDue,
    IdempotencyInProgress,
    IdempotencyMismatch,
    FreeBudgetSpent,
    QuotaExceeded,
    OutcomeUnknown,
    NoSpace,
)
"""What the way in may answer in any dialect, beside what is wrong with the request itself."""


class Image(msgspec.Struct, frozen=True):
    """An image that came with a request, not looked at yet. `param` names the field it came in."""

    role: Role
    data: bytes
    param: str


def limits_of(gateway: Gateway, name: str) -> ModelLimits:
    """Raises UnknownModel."""
    found = gateway.models.get(name)
    if found is None:
        raise UnknownModel(f"there is no model {name!r}; there are: {', '.join(sorted(gateway.models))}", param="model")
    return found


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
    named = tuple(InputMedia(image.role, "", "", "", 0, 0, len(image.data)) for image in images)
    video = resolve(ask, limits, queue_deadline_s=gateway.settings.queue_deadline_s, inputs=named)
    try:
        if images:
            video = msgspec.structs.replace(video, inputs=await _store(gateway, images, org, job))
        admitted = await gateway.admission.admit(
            submission(caller, job_id, video, dialect=dialect, status=status, render=render, idempotency_key=key, retry=retry)
        )
    except GatewayError as error:
        if images and not isinstance(error, OutcomeUnknown):  # that job may exist, and then it needs its images
            await _discard(gateway, org, job)
        raise
    if images and admitted.replayed:
        await _discard(gateway, org, job)
    elif images:
        await _settle(gateway, org, job)
    return admitted


async def _store(gateway: Gateway, images: Sequence[Image], org: str, job: str) -> tuple[InputMedia, ...]:
    if len(images) > IMAGES_MAX:
        raise InvalidRequest(f"a request takes at most {IMAGES_MAX} images", param=images[0].param)
    stored: list[InputMedia] = []
    try:  # the clerk follows this note when nobody comes back to decide
        await gateway.store.put_bytes(pending_key(org, job), b"", content_type="application/octet-stream")
    except StoreError as error:
        raise Unavailable(retry_after_s=5) from error
    for index, image in enumerate(images):
        try:
            probed = await probe_image(gateway.decoders, image.data, IMAGE_LIMITS)
            put = await gateway.store.put_bytes(input_key(org, job, index), image.data, content_type=f"image/{probed.format}")
        except ImageRejected as error:
            raise InvalidMedia(f"{image.param}: {error.detail}", param=image.param) from error
        except (DecoderUnavailable, StoreError) as error:
            raise Unavailable(retry_after_s=5) from error
        stored.append(
            InputMedia(image.role, put.key, put.sha256, f"image/{probed.format}", probed.width, probed.height, put.bytes)
        )
    return tuple(stored)


async def _discard(gateway: Gateway, org: str, job: str) -> None:
    """Removes the images of a request that became no job; if that fails, the clerk does it."""
    with contextlib.suppress(StoreError):
        await gateway.store.delete_prefix(job_prefix(org, job))
        await gateway.store.delete(pending_key(org, job))


async def _settle(gateway: Gateway, org: str, job: str) -> None:
    with contextlib.suppress(StoreError):
        await gateway.store.delete(pending_key(org, job))
