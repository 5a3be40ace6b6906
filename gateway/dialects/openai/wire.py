"""What OpenAI's Videos API puts on the wire, and what we add to it.

Their SDKs keep keys they do not know, so the additions reach callers.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.video import SEED_MAX, Tier

Prompt = Annotated[str, Meta(max_length=10_000)]
Label = Annotated[str, Meta(max_length=64)]


class ImageReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`input_reference` as an object; OpenAI's other form, `file_id`, names a file of theirs."""

    image_url: str


class CreateVideo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The five fields of OpenAI, then ours. A form sends all of them as text, so numbers are read from text too."""

    prompt: Prompt
    model: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    seconds: Annotated[float, Meta(gt=0, le=600)] | None = None
    size: Annotated[str, Meta(max_length=11)] | None = None
    input_reference: ImageReference | str | None = None

    negative_prompt: Prompt = ""
    frames: Annotated[int, Meta(ge=1, le=36_000)] | None = None
    resolution: Annotated[str, Meta(max_length=10)] | None = None
    ratio: Annotated[str, Meta(max_length=10)] | None = None
    fps: Annotated[int, Meta(ge=1, le=240)] | None = None
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)] | None = None
    steps: Annotated[int, Meta(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Meta(ge=0, le=100)] | None = None
    audio: bool = False
    tier: Tier = "standard"
    queue_deadline_s: Annotated[int, Meta(ge=60, le=7 * 86400)] | None = None
    return_last_frame: bool = False
    end_user: Label | None = None
    external_id: Label | None = None
    callback_url: Annotated[str, Meta(max_length=2048)] | None = None
    metadata: Annotated[dict[Label, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] = {}


class VideoError(msgspec.Struct, frozen=True):
    code: str
    message: str


class Usage(msgspec.Struct, frozen=True):
    """What was delivered and verified."""

    output_seconds: float
    frames: int


class Estimate(msgspec.Struct, frozen=True):
    """The most the video may cost, in micro-units (10⁻⁶) of the currency."""

    amount_micro: int
    currency: str


class Cost(msgspec.Struct, frozen=True):
    """What was charged, in micro-units of the currency, and why."""

    amount_micro: int
    currency: str
    reason: str


class Queue(msgspec.Struct, frozen=True):
    """`position` 0 is the next to start; null while it is not known."""

    position: int | None


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's Video; `usage` and what follows are ours. Times are Unix seconds, `progress` is 0…100."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    prompt: str
    remixed_from_video_id: None = None
    seconds: str
    size: str
    usage: Usage | None
    estimated_cost: Estimate
    cost: Cost | None
    queue: Queue | None
    metadata: dict[str, str]


class EventSubject(msgspec.Struct, frozen=True):
    """What an event is about; ask for the rest."""

    id: str


class WebhookEvent(msgspec.Struct, frozen=True):
    """The body of a webhook, as for OpenAI's other events."""

    id: str
    created_at: int
    type: Literal["video.completed", "video.failed"]
    data: EventSubject
    object: Literal["event"] = "event"


class VideoPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of videos; `last_id` is the `after` of the next one."""

    object: Literal["list"] = "list"
    data: tuple[Video, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(msgspec.Struct, frozen=True):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


class Failure(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class FailureDocument(msgspec.Struct, frozen=True):
    error: Failure
