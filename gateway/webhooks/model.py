"""What is told to whom; pure."""

import random
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

Form: TypeAlias = Literal["native", "openai", "ark"]
"""Which dialect a message speaks. `ark` is only for callbacks that a request in that dialect asks for."""
EndpointForm: TypeAlias = Literal["native", "openai"]
Kind: TypeAlias = Literal["url", "callbacks", "listener"]
State: TypeAlias = Literal["waiting", "delivered", "failed"]

ENDPOINTS_MAX = 20
"""Of one organization, listeners included."""
RETRIES_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""The pauses between tries: the first again after seconds, the last after a day; more than three days in all."""
JITTER = 0.2
DISABLED_AFTER_S = 5 * 86400
"""An endpoint that fails this long, without one success, is sent nothing more until it is enabled again."""
KEPT_S = 30 * 86400
"""How long deliveries and their tries are kept."""
LISTENER_S = 86400
OVERLAP_S = 86400
"""How long a replaced secret stays valid unless the rotation says otherwise."""


class Endpoint(msgspec.Struct, frozen=True):
    """A row of webhook_endpoint."""

    org_id: UUID
    id: UUID
    livemode: bool
    kind: Kind
    url: str | None
    form: EndpointForm
    events: list[str]
    description: str
    generation: int
    rotated_at: datetime | None
    old_until: datetime | None
    old_valid: bool
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    version: int


class Delivery(msgspec.Struct, frozen=True):
    """A row of webhook_delivery; `data` is JSON."""

    org_id: UUID
    id: UUID
    endpoint_id: UUID
    event: str
    form: Form
    job_id: UUID | None
    data: bytes
    url: str | None
    happened_at: datetime
    created_at: datetime
    state: State
    tries: int
    due_at: datetime
    ended_at: datetime | None


class Claimed(msgspec.Struct, frozen=True):
    """A delivery that this process sends now, to `url`; `old_valid`: also signed with the secret of the generation before."""

    org_id: UUID
    id: UUID
    endpoint_id: UUID
    event: str
    form: Form
    job_id: UUID | None
    data: bytes
    url: str
    happened_at: datetime
    tries: int
    generation: int
    old_valid: bool


class Try(msgspec.Struct, frozen=True):
    """One attempt to deliver: the status that came back, or the error that kept one from coming."""

    n: int
    at: datetime
    took_ms: int
    status: int | None
    error: str | None
    answer: str


class Outcome(msgspec.Struct, frozen=True):
    """What a try came to; `lasting`: another cannot do better. `ours`: it says nothing about the receiver."""

    took_ms: int
    status: int | None = None
    error: str | None = None
    answer: str = ""
    lasting: bool = False
    ours: bool = False

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and self.error is None

    @property
    def gone(self) -> bool:
        """The receiver wants no more, ever (410)."""
        return self.status == 410


class Alone(msgspec.Struct, frozen=True):
    alone: bool


class Posted(msgspec.Struct, frozen=True):
    """So many events were taken, and so many deliveries came of them."""

    taken: int
    posted: int


class Reading(msgspec.Struct, frozen=True):
    position: int


class Message(msgspec.Struct, frozen=True):
    """What a delivery says, as it is sent or shown."""

    headers: dict[str, str]
    body: bytes


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id`: the same at every try, so that a receiver can tell what it has seen."""
    return f"msg_{delivery_id.hex}"


def pause_s(tries: int) -> float | None:
    """How long to wait after so many tries, None when there were enough. Jittered: not all that failed together come back so."""
    if tries > len(RETRIES_S):
        return None
    return RETRIES_S[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 – jitter, not a secret
