"""What the native API reads and writes. Money is in micro-units (10⁻⁶ of the currency), durations in seconds."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.errors import QuotaFigures
from gateway.video import SEED_MAX, Role, State, Tier

Prompt = Annotated[str, Meta(max_length=10_000, description="What the video shows.")]
Label = Annotated[str, Meta(max_length=64)]


class ImageInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image the video starts from, ends on, or takes after: itself or a link to it."""

    role: Role
    data: (
        Annotated[str, Meta(max_length=32 * 1024 * 1024, description="A data URL: data:image/png;base64,… (PNG, JPEG or WebP).")]
        | None
    ) = None
    url: (
        Annotated[str, Meta(max_length=2048, description="An https:// link that answers 200 with the image, without redirect.")]
        | None
    ) = None


class CreateJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A video to generate.

    Say the length by `seconds` (or "auto") or by `frames`, the size by `size` or by `resolution` and `ratio`.
    """

    model: Annotated[str, Meta(min_length=1, max_length=100)]
    prompt: Prompt
    negative_prompt: Annotated[str, Meta(max_length=10_000, description="What it must not show.")] = ""
    seconds: Annotated[float, Meta(gt=0, le=600)] | Literal["auto"] | None = None
    frames: Annotated[int, Meta(ge=1, le=36_000)] | None = None
    size: Annotated[str, Meta(max_length=11, examples=["1280x720"])] | None = None
    resolution: Annotated[str, Meta(max_length=10, examples=["720p"])] | None = None
    ratio: Annotated[str, Meta(max_length=10, examples=["16:9"])] | None = None
    fps: Annotated[int, Meta(ge=1, le=240)] | None = None
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)] | None = None
    steps: Annotated[int, Meta(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Meta(ge=0, le=100)] | None = None
    audio: bool = False
    tier: Tier = "standard"
    queue_deadline_s: Annotated[int, Meta(ge=60, le=7 * 86400)] | None = None
    return_last_frame: bool = False
    inputs: Annotated[tuple[ImageInput, ...], Meta(max_length=8)] = ()
    end_user: Label | None = None
    external_id: Label | None = None
    callback_url: (
        Annotated[str, Meta(max_length=2048, description="An https:// URL that is told what happens to the job.")] | None
    ) = None
    metadata: Annotated[dict[Label, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] = {}
    labels: Annotated[
        dict[Label, Label], Meta(max_length=8, description="What usage is reported by: names with few values each.")
    ] = {}


class Money(msgspec.Struct, frozen=True):
    """What is held while the job lives, and what it was charged in the end: prepaid seconds first, money for the rest.

    `price_version` names the frozen rate card.
    """

    currency: str
    held_micro: int
    charged_micro: int
    held_seconds_ms: int
    charged_seconds_ms: int
    credited_micro: Annotated[int, Meta(description="Given back as credit because the job started later than promised.")]
    rate_micro_per_s: int
    price_version: str
    reason: str


class ArtifactView(msgspec.Struct, frozen=True):
    """A verified file. `url` works without a key until it expires; a new one comes with every answer."""

    name: str
    mime: str
    bytes: int
    sha256: str
    url: str


class Problem(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: str
    message: str


class Urls(msgspec.Struct, frozen=True):
    get: str
    events: str
    cancel: str


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job. `progress` is 0…1; `seconds` is what was delivered, or until then the most that may be."""

    id: str
    object: Literal["job"] = "job"
    livemode: bool
    state: State
    progress: Annotated[float, Meta(ge=0, le=1)]
    queue_position: int | None
    promised_start_at: Annotated[
        datetime | None,
        Meta(description="It starts by then, or a share of its price is given back. Null: no start was promised."),
    ]
    expected_start_at: Annotated[datetime | None, Meta(description="While it waits, as far as can be said.")]
    expected_finish_at: Annotated[datetime | None, Meta(description="Until it has ended, as far as can be said.")]
    model: str
    prompt: str
    seconds: float
    frames: int | None
    size: str
    fps: int
    audio: bool
    seed: int | None
    tier: Tier
    billing: Money
    artifacts: tuple[ArtifactView, ...]
    error: Problem | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    assets_expire_at: datetime | None
    end_user: str | None
    external_id: str | None
    metadata: dict[str, str]
    labels: dict[str, str]
    urls: Urls


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a webhook: a job as it was at the event, or the facts of an event about money."""

    type: str
    timestamp: datetime
    data: JobView | dict[str, Any]
    sample: bool = False
    """It did not happen: somebody tries a receiver."""


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, newest first; pass `next_cursor` as `cursor` for the next one."""

    data: tuple[JobView, ...]
    has_more: bool
    next_cursor: str | None
    object: Literal["list"] = "list"


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The data of one event of a job's stream. `kind` is the state the job took, or `progress`; the last one brings the `job`."""

    kind: State | Literal["progress"]
    at: datetime
    job_id: str
    progress: Annotated[float, Meta(ge=0, le=1, description="As it is now, also in events of the past.")]
    frames_done: int
    frames_total: int
    data: dict[str, Any]
    job: JobView | UnsetType = UNSET


Confidence = Literal["measured", "catalogue", "guess"]


class StartQuote(msgspec.Struct, frozen=True):
    """When it would start and be done in a tier, in seconds from now. A job gets the promise of the moment it is admitted.

    `confidence`: its run time was measured here, is published for its chip, or is guessed from other chips.
    """

    promised_start_s: Annotated[float | None, Meta(description="At the latest. Null: no start can be promised in this tier now.")]
    expected_start_s: float
    expected_finish_s: float
    confidence: Confidence


class TierPrice(msgspec.Struct, frozen=True):
    """What the request costs at most in one tier, and when it would start; `start` is null while nobody can say.

    `explanation` is for people: `4.000 s × ¥1.00 = ¥4.00`.
    """

    tier: Tier
    rate_micro_per_s: int
    amount_max_micro: Annotated[int, Meta(description="What would be held; only delivered seconds are charged.")]
    explanation: str
    start: StartQuote | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request means and what it may cost. Nothing is stored; `seconds` and `frames` are the most there may be."""

    object: Literal["estimate"] = "estimate"
    model: str
    size: str
    resolution: str
    fps: int
    frames: int
    seconds: float
    audio: bool
    currency: str
    price_version: str
    amount_max_micro: Annotated[int, Meta(description="In the tier that was asked for.")]
    tiers: tuple[TierPrice, ...]


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, with the stable `code` and the field, or the quota, it is about."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    param: str | UnsetType = UNSET
    quota: QuotaFigures | UnsetType = UNSET
