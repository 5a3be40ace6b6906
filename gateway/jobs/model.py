"""States, rows and mapping of jobs; pure."""

import hashlib
from datetime import datetime
from typing import Self
from uuid import UUID

import msgspec

from billing.pricing.model import decode_terms
from gateway.video import Artifact, Job, State, VideoRequest

TRANSITIONS: dict[State, frozenset[State]] = {
    "queued": frozenset({"running", "cancelled", "expired"}),
    "running": frozenset({"queued", "cancelling", "succeeded", "failed"}),
    "cancelling": frozenset({"cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
"""docs/state_machine.md draws this table and the CHECK `job_state` lists its states; tests/tidy compares the three."""


class JobRow(msgspec.Struct, frozen=True):
    """A job as selected by jobs/sql.py; `terms`, `request` and `artifacts` still encoded."""

    org_id: UUID
    id: UUID
    project_id: UUID
    livemode: bool
    dialect: str
    state: str
    terms: bytes
    max_ms: int
    hold_ms: int
    hold_micro: int
    created_at: datetime
    promised_start_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    frames_done: int
    frames_total: int
    frames: int | None
    delivered_ms: int | None
    charged_ms: int
    charged_micro: int
    credited_micro: int | None
    error_code: str | None
    error_message: str | None
    assets_expire_at: datetime | None
    assets_deleted_at: datetime | None
    event_seq: int
    request: bytes
    artifacts: bytes


class EventRow(msgspec.Struct, frozen=True):
    """One line of a job's log; `data` is JSON."""

    org_id: UUID
    job_id: UUID
    seq: int
    kind: str
    data: bytes
    created_at: datetime


class JobRef(msgspec.Struct, frozen=True):
    """The two halves of a job's primary key."""

    org_id: UUID
    id: UUID

    @property
    def key(self) -> bytes:
        """Both in 32 bytes: what a million of them are known by in memory."""
        return self.org_id.bytes + self.id.bytes

    @classmethod
    def of(cls, key: bytes) -> Self:
        return cls(UUID(bytes=key[:16]), UUID(bytes=key[16:]))


class Lease(msgspec.Struct, frozen=True):
    """A job that this process runs. Every write of the attempt names `attempt` (the fence) and the owner."""

    org_id: UUID
    id: UUID
    attempt: int
    livemode: bool
    request: bytes
    retention_s: int
    waited_s: float
    failures: int

    @property
    def ref(self) -> JobRef:
        return JobRef(self.org_id, self.id)

    def video(self) -> VideoRequest:
        return _request.decode(self.request)


class Placed(msgspec.Struct, frozen=True):
    """A lease and the replica that runs it; the price is the chip's of now, None where nobody has said one."""

    lease: Lease
    replica: str
    accelerator: str
    price_micro_usd_per_hour: int | None


def cost_micro_usd(device_ms: int, price_micro_usd_per_hour: int | None) -> int:
    """What an attempt costs us, as the ledger has it: rounded down; nothing where nobody has said a price."""
    return device_ms * (price_micro_usd_per_hour or 0) // _MS_PER_HOUR


class Ending(msgspec.Struct, frozen=True):
    """What is known of a job that is about to end, or has just ended; attempts in order, 0 for what was not priced or timed.

    `counted`: quotas were reserved for it.
    """

    org_id: UUID
    id: UUID
    attempt: int
    lease_owner: UUID | None
    state: str
    project_id: UUID
    key_id: UUID
    livemode: bool
    model: str
    tier: str
    request: bytes
    terms: bytes
    max_ms: int
    counted: bool
    queue_ms: int | None
    numbers: list[int]
    chips: list[str]
    outcomes: list[str]
    device_ms: list[int]
    prices: list[int]

    def video(self) -> VideoRequest:
        return _request.decode(self.request)


class Created(msgspec.Struct, frozen=True):
    id: UUID
    created_at: datetime
    promised_start_at: datetime | None


class Enqueued(msgspec.Struct, frozen=True):
    """How many jobs a batch added, and the moment they all have."""

    jobs: int
    created_at: datetime


class Stored(msgspec.Struct, frozen=True):
    """A remembered answer."""

    org_id: UUID
    project_id: UUID
    livemode: bool
    route: str
    token: str
    fingerprint: bytes
    job_id: UUID
    status: int
    body: bytes


class Locked(msgspec.Struct, frozen=True):
    n: int
    locked: bool


class Number(msgspec.Struct, frozen=True):
    n: int


class StateCount(msgspec.Struct, frozen=True):
    state: str
    n: int


class Lost(msgspec.Struct, frozen=True):
    """A job whose lease ran out, what became of it, and what the attempt that was lost cost us."""

    org_id: UUID
    id: UUID
    state: str
    model: str
    accelerator: str
    device_ms: int
    price_micro_usd_per_hour: int | None


class Changed(msgspec.Struct, frozen=True):
    """A job whose state a statement changed, and whether its hold must be released."""

    org_id: UUID
    id: UUID
    state: str


class Delivered(msgspec.Struct, frozen=True):
    """What a verified result is: counted from the stored file."""

    frames: int
    duration_ms: int
    artifacts: tuple[Artifact, ...]


_MS_PER_HOUR = 3_600_000
_request = msgspec.json.Decoder(VideoRequest)
_artifacts = msgspec.json.Decoder(tuple[Artifact, ...])


def job_of(row: JobRow) -> Job:
    """The canonical job of a row."""
    fields = msgspec.structs.asdict(row)
    fields["terms"] = decode_terms(row.terms)
    fields["request"] = _request.decode(row.request)
    fields["artifacts"] = _artifacts.decode(row.artifacts)
    return Job(**fields)


def fingerprint(request: VideoRequest, encoded: bytes) -> bytes:
    """What two requests must share to be the same one: everything but where their inputs were put."""
    if request.inputs:
        inputs = tuple(msgspec.structs.replace(media, key="") for media in request.inputs)
        encoded = msgspec.json.encode(msgspec.structs.replace(request, inputs=inputs))
    return hashlib.sha256(encoded).digest()
