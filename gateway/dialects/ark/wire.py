"""What the content generation API of Volcengine Ark and BytePlus puts on the wire. Times are Unix seconds."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=10_000)]


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(max_length=32 * 1024 * 1024)]


class TaskRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class TextItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="type"):
    """The prompt; may carry flags (`flags.py`)."""

    text: Text


class ImageItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url", tag_field="type"):
    """An image; the only one of a task may leave its role out and is the first frame."""

    image_url: Link
    role: Literal["first_frame", "last_frame", "reference_image"] | None = None


class VideoItem(msgspec.Struct, frozen=True, tag="video_url", tag_field="type"):
    video_url: Link


class AudioItem(msgspec.Struct, frozen=True, tag="audio_url", tag_field="type"):
    audio_url: Link


class DraftItem(msgspec.Struct, frozen=True, tag="draft_task", tag_field="type"):
    draft_task: TaskRef


Item = TextItem | ImageItem | VideoItem | AudioItem | DraftItem


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be said as a field or as a flag in the text."""

    resolution: Annotated[str, Meta(max_length=10)] | None = None
    ratio: Annotated[str, Meta(max_length=10)] | None = None
    duration: Annotated[int, Meta(ge=-1, le=600)] | None = None
    """Whole seconds; -1 lets the model choose."""
    frames: Annotated[int, Meta(ge=1, le=36_000)] | None = None
    """Wins over `duration`."""
    framespersecond: Annotated[int, Meta(ge=1, le=240)] | None = None
    seed: Annotated[int, Meta(ge=-1, le=2**32 - 1)] | None = None
    """-1 is random."""
    watermark: bool | None = None
    camera_fixed: bool | None = None


class CreateTask(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task. The SDKs send every field they know, null where it is not set."""

    model: Annotated[str, Meta(min_length=1, max_length=100)]
    content: Annotated[tuple[Item, ...], Meta(min_length=1, max_length=32)]
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    callback_url: Annotated[str, Meta(max_length=2048)] | None = None
    """Is sent the task, signed, whenever its status has changed."""
    return_last_frame: bool | None = None
    service_tier: Literal["default", "flex", "priority"] | None = None
    """`priority` is ours."""
    execution_expires_after: Annotated[int, Meta(ge=3600, le=259_200)] | None = None
    """Seconds in which the task must have started."""
    priority: int | None = None
    generate_audio: bool | None = None
    draft: bool | None = None
    tools: list[dict[str, Any]] | None = None
    output_format: str | None = None
    omni_reference_task_type: str | None = None


class TaskId(msgspec.Struct, frozen=True):
    id: str


class TaskError(msgspec.Struct, frozen=True):
    code: str
    message: str


class Content(msgspec.Struct, frozen=True):
    """Links that need no key and expire; null for a file that the task does not have."""

    video_url: str | None
    last_frame_url: str | None
    file_url: None = None


class Usage(msgspec.Struct, frozen=True):
    completion_tokens: int
    total_tokens: int


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task with every key the SDKs declare: they leave an attribute out where a key is absent, and reading it raises."""

    id: str
    model: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
    error: TaskError | None
    content: Content | None
    usage: Usage | None
    created_at: int
    updated_at: int
    seed: int
    resolution: str
    ratio: str
    duration: int | None
    """Whole seconds, -1 while the model has yet to choose; null where `frames` says it."""
    frames: int | None
    framespersecond: int
    service_tier: str
    execution_expires_after: int
    priority: int = 0
    generate_audio: bool
    draft: bool = False
    draft_task_id: None = None
    tools: None = None
    revised_prompt: None = None
    safety_identifier: str | None
    subdivisionlevel: None = None
    fileformat: Literal["mp4"] = "mp4"
    output_format: Literal["mp4"] = "mp4"


class TaskPage(msgspec.Struct, frozen=True):
    """`total` counts all that match, not only this page."""

    total: int
    items: tuple[Task, ...]


class Failure(msgspec.Struct, frozen=True):
    code: str
    message: str
    param: str | None
    type: str


class FailureDocument(msgspec.Struct, frozen=True):
    error: Failure
