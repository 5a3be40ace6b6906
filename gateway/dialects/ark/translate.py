"""Ark's wire ↔ canonical; pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast
from urllib.parse import quote

import msgspec

from gateway.dialects.ark.flags import merged, split_flags
from gateway.dialects.ark.wire import (
    AudioItem,
    Content,
    CreateTask,
    DraftItem,
    Failure,
    FailureDocument,
    ImageItem,
    Options,
    Task,
    TaskError,
    TaskId,
    TaskPage,
    TextItem,
    Usage,
    VideoItem,
)
from gateway.errors import GatewayError, InvalidRequest, UnsupportedField
from gateway.video import Ask, Job, Role, State, Tier

Link = Callable[[Job, str], str | None]
"""A link to one of a job's files."""

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]

STATUS: Mapping[State, Status] = {
    "queued": "queued",
    "running": "running",
    "cancelling": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "expired",
}
TIERS: Mapping[str, Tier] = {"default": "standard", "flex": "flex", "priority": "priority"}
_TIER_NAMES = {tier: name for name, tier in TIERS.items()}
_ROLES: Mapping[str, Role] = {"first_frame": "first_frame", "last_frame": "last_frame", "reference_image": "reference"}
_TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    402: "PaymentRequired",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
}
_OURS = {
    "audio": "generate_audio",
    "end_user": "safety_identifier",
    "fps": "framespersecond",
    "inputs": "content",
    "prompt": "content",
    "queue_deadline_s": "execution_expires_after",
    "seconds": "duration",
    "size": "resolution",
    "tier": "service_tier",
}
"""Fields that the canonical request calls otherwise."""
_FIELDS = frozenset(CreateTask.__struct_fields__)
_IGNORED_MAX = 32

_encode = msgspec.json.Encoder().encode


class Reference(msgspec.Struct, frozen=True):
    """An image of a task, still a URL."""

    role: Role
    url: str
    param: str


def without_null(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was set: the SDKs send an explicit null for every field that was not, known here or not."""
    kept = {name: value for name, value in given.items() if value is not None}
    if isinstance(kept.get("content"), list):
        items = cast("list[object]", kept["content"])
        kept["content"] = [without_null(cast("dict[str, Any]", i)) if isinstance(i, dict) else i for i in items]
    return kept


def without_unknown(given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields we know, and the names of the others: what a lenient key has ignored."""
    return {name: value for name, value in given.items() if name in _FIELDS}, tuple(n for n in given if n not in _FIELDS)


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """Names come from the client, so they are quoted before they stand in a header."""
    return {"x-ignored-fields": ", ".join(quote(name[:64], safe="[]") for name in names[:_IGNORED_MAX])} if names else {}


class Understood(msgspec.Struct, frozen=True):
    """A task, its images still URLs, and what a lenient key has had ignored."""

    ask: Ask
    images: tuple[Reference, ...]
    ignored: tuple[str, ...]


def understand(task: CreateTask, checked: Callable[[object], Options], *, lenient: bool) -> Understood:
    """What a task asks for; `checked` reads the flags in its text under the limits of the fields they stand for.

    Raises InvalidRequest, also where a flag contradicts a field, and UnsupportedField.
    """
    texts = [item.text for item in task.content if isinstance(item, TextItem)]
    prompt, flags = split_flags("\n".join(texts))
    task = msgspec.structs.replace(task, **merged(task, checked(flags)))
    ignored: list[str] = []
    for name, refusal in unsupported(task):
        if not lenient:
            raise refusal
        ignored.append(name)
    return Understood(ask_of(task, prompt), references(task), tuple(ignored))


def unsupported(task: CreateTask) -> Iterator[tuple[str, UnsupportedField]]:
    """The name and a refusal of each field that asks for something no model here does; what changes nothing is let through."""
    asked = {
        "priority": (bool(task.priority), "tasks are not ranked by number; use service_tier=priority"),
        "draft": (bool(task.draft), "no model here makes drafts"),
        "camera_fixed": (bool(task.camera_fixed), "no model here can fix the camera"),
        "watermark": (bool(task.watermark), "no model here adds a watermark"),
        "tools": (bool(task.tools), "no model here uses tools"),
        "output_format": (task.output_format not in (None, "", "mp4"), "videos are made as mp4"),
        "omni_reference_task_type": (bool(task.omni_reference_task_type), "no model here knows such tasks"),
    }
    for name, (wanted, reason) in asked.items():
        if wanted:
            yield name, UnsupportedField(f"{name} is not supported here: {reason}. Remove it.", param=name)


def references(task: CreateTask) -> tuple[Reference, ...]:
    """The images of a task in order. Raises UnsupportedField for other media: without them it would be another video."""
    found: list[Reference] = []
    alone = sum(isinstance(item, ImageItem) for item in task.content) == 1
    for index, item in enumerate(task.content):
        match item:
            case VideoItem() | AudioItem() | DraftItem():
                kind = {VideoItem: "video_url", AudioItem: "audio_url", DraftItem: "draft_task"}[type(item)]
                raise UnsupportedField(f"{kind}: no model here takes it; remove it", param=f"content[{index}].{kind}")
            case ImageItem(image_url=link, role=role):
                if role is None and not alone:
                    raise InvalidRequest("with several images each needs a role", param=f"content[{index}].role")
                found.append(Reference(_ROLES[role or "first_frame"], link.url, f"content[{index}].image_url.url"))
                if role != "reference_image" and found[-1].role in [other.role for other in found[:-1]]:
                    raise InvalidRequest(f"there may be one {role} only", param=f"content[{index}].role")
            case TextItem():
                pass
    return tuple(found)


def ask_of(task: CreateTask, prompt: str) -> Ask:
    auto = task.duration == -1 and task.frames is None
    if task.duration == 0:
        raise InvalidRequest("duration must be at least 1, or -1 to let the model choose", param="duration")
    return Ask(
        model=task.model,
        prompt=prompt,
        seconds=None if auto or task.frames is not None else task.duration,
        frames=task.frames,
        auto=auto,
        resolution=task.resolution,
        ratio=task.ratio,
        fps=task.framespersecond,
        seed=None if task.seed == -1 else task.seed,
        audio=bool(task.generate_audio),
        tier=TIERS[task.service_tier or "default"],
        queue_deadline_s=task.execution_expires_after,
        return_last_frame=bool(task.return_last_frame),
        end_user=task.safety_identifier or None,
        callback_url=task.callback_url or None,
    )


def view(job: Job, link: Link) -> Task:
    request = job.request
    delivered = job.state == "succeeded"
    open_length = request.auto and not delivered
    whole = job.delivered_ms if job.delivered_ms is not None else job.max_ms
    in_seconds = open_length or whole % 1000 == 0
    frames = job.frames or request.frames
    return Task(
        id=job.public_id,
        model=request.model,
        status=STATUS[job.state],
        error=TaskError(job.error_code, job.error_message or "") if job.error_code else None,
        content=Content(link(job, "video"), link(job, "last_frame")) if delivered else None,
        usage=_usage(request.width * request.height * frames) if delivered else None,
        created_at=int(job.created_at.timestamp()),
        updated_at=int((job.finished_at or job.started_at or job.created_at).timestamp()),
        seed=-1 if request.seed is None else request.seed,
        resolution=request.resolution,
        ratio=request.ratio,
        duration=(-1 if open_length else whole // 1000) if in_seconds else None,
        frames=None if in_seconds else frames,
        framespersecond=request.fps,
        service_tier=_TIER_NAMES[request.tier],
        execution_expires_after=request.queue_deadline_s,
        generate_audio=request.audio,
        safety_identifier=request.end_user,
    )


def _usage(pixels: int) -> Usage:
    """Ark's tokens: width × height × frames / 1024, as its published sample of 108,900 for 1280 × 720 × 121 shows."""
    return Usage(pixels // 1024, pixels // 1024)


def render(job: Job, link: Link) -> bytes:
    return _encode(view(job, link))


def render_created(job: Job) -> bytes:
    return _encode(TaskId(job.public_id))


def render_page(jobs: Sequence[Job], total: int, link: Link) -> bytes:
    return _encode(TaskPage(total, tuple(view(job, link) for job in jobs)))


def render_error(error: GatewayError) -> tuple[bytes, str]:
    """Ark's error object, with the fields named as this API names them."""
    kind = _TYPES.get(error.status, "InternalServerError" if error.status >= 500 else "BadRequest")
    param, message = error.param, error.message
    if param is not None and param in _OURS:
        message = message.replace(f"{param} must", f"{_OURS[param]} must", 1) if message.startswith(param) else message
        param = _OURS[param]
    return _encode(FailureDocument(Failure(error.code, message, param, kind))), "application/json"
