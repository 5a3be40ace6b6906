"""Rows of the queue as the leader must know them; times are seconds of the epoch. Pure."""

from uuid import UUID

import msgspec

from gateway.jobs.model import JobRef
from gateway.video import Tier


class Waiting(msgspec.Struct, frozen=True):
    """A job in the queue: what runs it, for how long, since and until when. `tried`: the replicas on which it failed."""

    org_id: UUID
    id: UUID
    model: str
    tier: Tier
    resolution: str
    seconds: float
    steps: int
    submitted_at: float
    available_at: float
    promised_at: float | None
    attempt: int
    tried: list[str]

    @property
    def key(self) -> bytes:
        return JobRef(self.org_id, self.id).key


class Flow(msgspec.Struct, frozen=True):
    """All jobs of one kind that an organization has waiting and that have never run.

    `jobs` has 40 bytes for each: its id, and big-endian doubles of its seconds, `submitted_at` and `promised_at` (nan: none).
    """

    org_id: UUID
    model: str
    tier: Tier
    resolution: str
    steps: int
    jobs: bytes


class Mark(msgspec.Struct, frozen=True):
    """The oldest transaction that had not ended."""

    mark: str


class DatabaseTime(msgspec.Struct, frozen=True):
    at: float
