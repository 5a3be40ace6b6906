"""The canonical video request and job: the hub every dialect translates to and from. No I/O.

`Ask` is what a client said, `VideoRequest` what it means once resolved against a model's limits: every number is
fixed, the longest possible result is known, and so is the most it can cost.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal
from uuid import UUID

import msgspec

from billing.pricing.model import Terms
from gateway.errors import InvalidRequest, UnsupportedField

Tier = Literal["priority", "standard", "flex"]
Task = Literal["t2v", "i2v", "flf2v", "ref2v"]
Role = Literal["first_frame", "last_frame", "reference"]
State = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"]

SECONDS_MAX = 120
EDGE_MAX = 1920
SEED_MAX = 2**53 - 1
"""Seeds survive a round trip through JSON numbers of any client."""


class ModelLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model can be asked for; a row of deploy/catalogue/models.toml."""

    name: str
    triton_model: str
    title: str
    edge_min: int
    edge_max: int
    edge_step: int
    pixels_max: int
    fps: tuple[int, ...]
    fps_default: int
    size_default: str
    seconds_min: float
    seconds_max: float
    seconds_default: float
    auto_length: bool
    audio: bool
    roles: tuple[Role, ...]
    steps_default: int
    steps_max: int
    guidance_default: float


class InputMedia(msgspec.Struct, frozen=True):
    """A reference image that was probed and stored before the job was admitted."""

    role: Role
    key: str
    sha256: str
    mime: str
    width: int
    height: int
    bytes: int


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for, in one vocabulary; None means that it left the choice to us.

    Length: one of `seconds` and `frames`, or `auto`. Geometry: one of `size` ("1280x720") and `resolution` ("720p") with
    `ratio` ("16:9").
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    seconds: float | None = None
    frames: int | None = None
    auto: bool = False
    size: str | None = None
    resolution: str | None = None
    ratio: str | None = None
    fps: int | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    audio: bool = False
    tier: Tier = "standard"
    queue_deadline_s: int | None = None
    return_last_frame: bool = False
    end_user: str | None = None
    external_id: str | None = None
    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}
    callback_url: str | None = None


class VideoRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A resolved request; this is what is stored, priced, fingerprinted and rendered. `frames` is the maximum when `auto`."""

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    fps: int
    frames: int
    auto: bool = False
    resolution: str
    ratio: str
    seed: int | None = None
    steps: int
    guidance: float
    audio: bool = False
    tier: Tier = "standard"
    queue_deadline_s: int
    return_last_frame: bool = False
    end_user: str | None = None
    external_id: str | None = None
    metadata: dict[str, str] = {}
    labels: dict[str, str] = {}
    inputs: tuple[InputMedia, ...] = ()
    callback_url: str | None = None

    @property
    def max_ms(self) -> int:
        return duration_ms(self.frames, self.fps)

    @property
    def task(self) -> Task:
        return task_of(media.role for media in self.inputs)

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


class Artifact(msgspec.Struct, frozen=True):
    """A stored, verified file of a job."""

    name: str
    key: str
    mime: str
    bytes: int
    sha256: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as every dialect renders it. Times are UTC; money is in micro-units of the terms' currency, `hold_ms` and
    `charged_ms` are prepaid seconds; `frames_total` is a maximum.
    """

    org_id: UUID
    id: UUID
    project_id: UUID
    livemode: bool
    dialect: str
    state: State
    terms: Terms
    max_ms: int
    hold_ms: int = 0
    hold_micro: int
    created_at: datetime
    promised_start_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 0
    frames_done: int = 0
    frames_total: int
    frames: int | None = None
    delivered_ms: int | None = None
    charged_ms: int = 0
    charged_micro: int = 0
    credited_micro: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    assets_expire_at: datetime | None = None
    assets_deleted_at: datetime | None = None
    event_seq: int = 1
    request: VideoRequest
    artifacts: tuple[Artifact, ...] = ()
    queue_position: int | None = None
    expected_start_at: datetime | None = None
    expected_finish_at: datetime | None = None

    @property
    def public_id(self) -> str:
        return public_id(self.id)

    @property
    def progress(self) -> float:
        """0…1; 1 only when the job has succeeded."""
        return 1.0 if self.state == "succeeded" else min(self.frames_done / self.frames_total, 0.99)

    @property
    def seconds(self) -> float:
        """The length in seconds: what was delivered, or while it runs the most that may be."""
        return (self.max_ms if self.delivered_ms is None else self.delivered_ms) / 1000

    def artifact(self, name: str) -> Artifact | None:
        """The file, unless it has expired or been deleted."""
        if self.assets_deleted_at is not None:
            return None
        return next((artifact for artifact in self.artifacts if artifact.name == name), None)


FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "expired"})


def public_id(job_id: UUID) -> str:
    return f"job_{job_id.hex}"


def parse_public_id(text: str) -> UUID | None:
    """The id behind `job_<32 hex digits>`, or None for anything else."""
    digits = text.removeprefix("job_")
    if len(text) != 36 or len(digits) != 32 or digits != digits.lower() or not digits.isalnum() or not digits.isascii():
        return None
    try:
        return UUID(hex=digits)
    except ValueError:
        return None


def task_of(roles: Iterable[Role]) -> Task:
    """What a video is made from: references, two frames, one frame, or text alone."""
    given = set(roles)
    if "reference" in given:
        return "ref2v"
    return "flf2v" if len(given) == 2 else "i2v" if given else "t2v"


def duration_ms(frames: int, fps: int) -> int:
    """Milliseconds of `frames` at `fps`, rounded down."""
    return frames * 1000 // fps


def resolution_class(width: int, height: int) -> str:
    """The price class of a size: the smallest of 480p, 720p, 1080p whose pixels cover it (16:9 as the measure)."""
    pixels = width * height
    return "480p" if pixels <= 854 * 480 else "720p" if pixels <= 1280 * 720 else "1080p"


def resolution_classes(limits: ModelLimits) -> tuple[str, ...]:
    """Every price class that a size of this model may fall into."""
    least = resolution_class(limits.edge_min, limits.edge_min)
    most = resolution_class(1, min(limits.pixels_max, limits.edge_max**2))
    classes = tuple(_SHORT_EDGE)
    return classes[classes.index(least) : classes.index(most) + 1]


def tasks(limits: ModelLimits) -> tuple[Task, ...]:
    """Every task that this model's inputs allow."""
    roles = set(limits.roles)
    ways: tuple[set[Role], ...] = (set(), {"first_frame"}, {"last_frame"}, {"first_frame", "last_frame"}, {"reference"})
    return tuple(dict.fromkeys(task_of(way) for way in ways if way <= roles))


_SHORT_EDGE = {"480p": 480, "720p": 720, "1080p": 1080}


def resolve(ask: Ask, limits: ModelLimits, *, queue_deadline_s: int, inputs: tuple[InputMedia, ...] = ()) -> VideoRequest:
    """What `ask` means for this model. Raises InvalidRequest or UnsupportedField naming the field."""
    if not ask.prompt.strip() and not inputs:
        raise InvalidRequest("prompt must not be empty", param="prompt")
    width, height = _geometry(ask, limits)
    fps = limits.fps_default if ask.fps is None else ask.fps
    if fps not in limits.fps:
        raise InvalidRequest(f"fps must be one of {', '.join(map(str, limits.fps))}", param="fps")
    if ask.audio and not limits.audio:
        raise UnsupportedField(f"{limits.name} does not make audio", param="audio")
    for media in inputs:
        if media.role not in limits.roles:
            raise UnsupportedField(f"{limits.name} does not take a {media.role} image", param="inputs")
    steps = limits.steps_default if ask.steps is None else ask.steps
    if not 1 <= steps <= limits.steps_max:
        raise InvalidRequest(f"steps must be between 1 and {limits.steps_max}", param="steps")
    return VideoRequest(
        model=limits.name,
        prompt=ask.prompt,
        negative_prompt=ask.negative_prompt,
        width=width,
        height=height,
        fps=fps,
        frames=_frames(ask, limits, fps),
        auto=ask.auto,
        resolution=resolution_class(width, height),
        ratio=ask.ratio if ask.ratio and ":" in ask.ratio else _ratio(width, height),
        seed=ask.seed,
        steps=steps,
        guidance=limits.guidance_default if ask.guidance is None else ask.guidance,
        audio=ask.audio,
        tier=ask.tier,
        queue_deadline_s=ask.queue_deadline_s or queue_deadline_s,
        return_last_frame=ask.return_last_frame,
        end_user=ask.end_user,
        external_id=ask.external_id,
        metadata=ask.metadata,
        labels=ask.labels,
        inputs=inputs,
        callback_url=ask.callback_url,
    )


def _frames(ask: Ask, limits: ModelLimits, fps: int) -> int:
    """The exact number of frames, or for automatic lengths the most the model may make."""
    low, high = int(limits.seconds_min * fps), int(limits.seconds_max * fps)
    if ask.auto:
        if not limits.auto_length:
            raise UnsupportedField(f"{limits.name} needs a length; say how many seconds", param="seconds")
        return high
    if ask.frames is not None:
        if not low <= ask.frames <= high:
            raise InvalidRequest(f"frames must be between {low} and {high} at {fps} fps", param="frames")
        return ask.frames
    seconds = limits.seconds_default if ask.seconds is None else ask.seconds
    if not limits.seconds_min <= seconds <= limits.seconds_max:
        allowed = f"between {limits.seconds_min:g} and {limits.seconds_max:g}"
        raise InvalidRequest(f"seconds must be {allowed} for {limits.name}", param="seconds")
    return max(round(seconds * fps), 1)


def _geometry(ask: Ask, limits: ModelLimits) -> tuple[int, int]:
    if ask.size is not None or (ask.resolution is None and ask.ratio is None):
        width, height = parse_size(ask.size or limits.size_default)
    else:
        width, height = _from_resolution(ask.resolution or "720p", ask.ratio or "16:9", limits.edge_step)
    step = limits.edge_step
    if width % step or height % step:
        raise InvalidRequest(f"width and height must be multiples of {step}", param="size")
    if not (
        limits.edge_min <= min(width, height) and max(width, height) <= limits.edge_max and width * height <= limits.pixels_max
    ):
        raise InvalidRequest(
            f"size must lie between {limits.edge_min} and {limits.edge_max} pixels an edge and within {limits.pixels_max} pixels",
            param="size",
        )
    return width, height


@lru_cache(maxsize=1024)
def parse_size(text: str) -> tuple[int, int]:
    """`"1280x720"` → (1280, 720); also with `*`, as some clients write. Raises InvalidRequest."""
    width, _, height = text.lower().replace("*", "x").partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()) or len(text) > 11:
        raise InvalidRequest("size must look like 1280x720", param="size")
    return int(width), int(height)


def _from_resolution(resolution: str, ratio: str, step: int) -> tuple[int, int]:
    """The size whose area is that of 16:9 at the named height: 720p at 1:1 is 960×960."""
    edge = _SHORT_EDGE.get(resolution.lower())
    if edge is None:
        raise InvalidRequest("resolution must be one of 480p, 720p, 1080p", param="resolution")
    wide, _, high = ("16:9" if ratio == "adaptive" else ratio).partition(":")
    if not (wide.isascii() and wide.isdigit() and high.isascii() and high.isdigit() and len(wide + high) <= 6):
        raise InvalidRequest("ratio must look like 16:9 or be 'adaptive'", param="ratio")
    a, b = int(wide), int(high)
    if not (a and b and 1 / 4 <= a / b <= 4):
        raise InvalidRequest("ratio must lie between 1:4 and 4:1", param="ratio")
    area = edge * edge * 16 / 9
    return _snap((area * a / b) ** 0.5, step), _snap((area * b / a) ** 0.5, step)


def _snap(edge: float, step: int) -> int:
    return int(edge) // step * step


@lru_cache(maxsize=1024)
def _ratio(width: int, height: int) -> str:
    """The usual name of a size's shape, by nearest quotient."""
    names = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0, "4:3": 4 / 3, "3:4": 3 / 4, "21:9": 21 / 9}
    return min(names, key=lambda name: abs(names[name] - width / height))
