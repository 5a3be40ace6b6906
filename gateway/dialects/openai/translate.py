"""OpenAI's wire ↔ canonical; pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from gateway.dialects.openai.wire import (
    Cost,
    CreateVideo,
    Deleted,
    Estimate,
    EventSubject,
    Failure,
    FailureDocument,
    ImageReference,
    Queue,
    Usage,
    Video,
    VideoError,
    VideoPage,
    WebhookEvent,
)
from gateway.errors import GatewayError, InvalidMedia, InvalidRequest
from gateway.video import FINAL, Ask, Job, State

Status = Literal["queued", "in_progress", "completed", "failed"]

STATUS: Mapping[State, Status] = {
    "queued": "queued",
    "running": "in_progress",
    "cancelling": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
}
"""OpenAI has four: what was cancelled or came too late is `failed`, and `error.code` says which."""

_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
_OURS = {"inputs": "input_reference"}
"""Fields that the canonical request calls otherwise."""
_FIELDS = frozenset(CreateVideo.__struct_fields__)
_IGNORED_MAX = 32

_encode = msgspec.json.Encoder().encode
_reference = msgspec.json.Decoder(ImageReference)


def without_unknown(given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields we know, and the names of the others: what a lenient key has ignored."""
    return {name: value for name, value in given.items() if name in _FIELDS}, tuple(n for n in given if n not in _FIELDS)


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """Names come from the client, so they are quoted before they stand in a header."""
    return {"x-ignored-fields": ", ".join(quote(name[:64], safe="[]") for name in names[:_IGNORED_MAX])} if names else {}


def ask_of(body: CreateVideo, default_model: str) -> Ask:
    """Raises InvalidRequest when the length or the size is given twice."""
    if body.seconds is not None and body.frames is not None:
        raise InvalidRequest("give seconds or frames, not both", param="frames")
    if body.size is not None and (body.resolution is not None or body.ratio is not None):
        raise InvalidRequest("give size, or resolution and ratio, not both", param="size")
    return Ask(
        model=body.model or default_model,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seconds=body.seconds,
        frames=body.frames,
        size=body.size,
        resolution=body.resolution,
        ratio=body.ratio,
        fps=body.fps,
        seed=body.seed,
        steps=body.steps,
        guidance=body.guidance,
        audio=body.audio,
        tier=body.tier,
        queue_deadline_s=body.queue_deadline_s,
        return_last_frame=body.return_last_frame,
        end_user=body.end_user,
        external_id=body.external_id,
        metadata=body.metadata,
        callback_url=body.callback_url,
    )


def reference_url(body: CreateVideo) -> str | None:
    """The URL of `input_reference`, which comes as an object, as that object in text, or as the URL itself.

    Raises InvalidMedia.
    """
    match body.input_reference:
        case ImageReference(image_url=url):
            return url
        case str(text) if text.lstrip().startswith("{"):
            try:
                return _reference.decode(text).image_url
            except msgspec.DecodeError as error:
                raise InvalidMedia(
                    f'input_reference: send {{"image_url": "https://… or data:image/png;base64,…"}} or upload the file ({error})',
                    param="input_reference",
                ) from error
        case text:
            return text


def view(job: Job) -> Video:
    request, over = job.request, job.state in FINAL
    delivered = job.state == "succeeded"
    return Video(
        id=job.public_id,
        model=request.model,
        status=STATUS[job.state],
        progress=int(job.progress * 100),
        created_at=int(job.created_at.timestamp()),
        completed_at=int(job.finished_at.timestamp()) if job.finished_at else None,
        expires_at=int(job.assets_expire_at.timestamp()) if delivered and job.assets_expire_at else None,
        error=VideoError(job.error_code, job.error_message or "") if job.error_code else None,
        prompt=request.prompt,
        seconds=f"{job.seconds:g}",
        size=request.size,
        usage=Usage(job.seconds, job.frames or request.frames) if delivered else None,
        estimated_cost=Estimate(job.hold_micro, job.terms.currency),
        cost=Cost(job.charged_micro, job.terms.currency, _reason(job)) if over else None,
        queue=Queue(job.queue_position) if job.state == "queued" else None,
        metadata=request.metadata,
    )


def _reason(job: Job) -> str:
    if job.state == "succeeded":
        return f"{job.seconds:.3f} s delivered and verified"
    return f"{job.error_code}: nothing was charged"


def render(job: Job) -> bytes:
    return _encode(view(job))


def render_event(job: Job, event_id: str, at: datetime) -> bytes:
    """What a webhook in this dialect says; only the end of a job is told."""
    kind = "video.completed" if job.state == "succeeded" else "video.failed"
    return _encode(WebhookEvent(event_id, int(at.timestamp()), kind, EventSubject(job.public_id)))


def render_page(jobs: Sequence[Job], *, has_more: bool) -> bytes:
    videos = tuple(view(job) for job in jobs)
    first, last = (videos[0].id, videos[-1].id) if videos else (None, None)
    return _encode(VideoPage(data=videos, first_id=first, last_id=last, has_more=has_more))


def render_deleted(job: Job) -> bytes:
    return _encode(Deleted(job.public_id))


def render_error(error: GatewayError) -> tuple[bytes, str]:
    """OpenAI's error object; their SDKs choose the exception by the HTTP status and show `message`, `param` and `code`."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    param = _OURS.get(error.param or "", error.param)
    return _encode(FailureDocument(Failure(error.message, kind, param, error.code))), "application/json"
