"""States and rows of the registry; pure."""

from datetime import datetime
from typing import Literal, get_args

import msgspec

Desired = Literal["active", "cordoned", "draining", "removed"]
Source = Literal["config", "api", "kubernetes"]
Verb = Literal["cordon", "uncordon", "drain", "remove", "quarantine", "release"]

VERBS: tuple[Verb, ...] = get_args(Verb)

TRANSITIONS: dict[Desired, frozenset[Desired]] = {
    "active": frozenset({"cordoned", "draining", "removed"}),
    "cordoned": frozenset({"active", "draining", "removed"}),
    "draining": frozenset({"active", "removed"}),
    "removed": frozenset({"active"}),
}
"""docs/state_machine.md draws this table and the CHECK `replica_state` lists its states; tests/tidy compares the three."""

GOALS: dict[Verb, Desired] = {"cordon": "cordoned", "uncordon": "active", "drain": "draining", "remove": "removed"}
"""Where each verb leads; the two others leave the state alone."""


class ReplicaRow(msgspec.Struct, frozen=True):
    """A replica as the registry has it; `labels` still encoded."""

    name: str
    url: str
    models: list[str]
    slots: int
    accelerator: str
    price_micro_usd_per_hour: int | None
    loads: bool
    models_max: int
    labels: bytes
    source: str
    state: str
    quarantine_reason: str | None
    quarantined_by: str | None
    quarantined_at: datetime | None
    version: int
    updated_at: datetime


class SeenRow(ReplicaRow, frozen=True):
    """With what the leader saw last; null where none has looked for a while."""

    condition: str | None
    reason: str | None
    loaded: list[str] | None
    broken: list[str] | None
    running: int | None
    seen_at: datetime | None


class Sight(msgspec.Struct, frozen=True):
    """What the leader sees of a replica now; `broken`: models whose breaker is open."""

    name: str
    condition: str
    reason: str
    loaded: tuple[str, ...]
    broken: tuple[str, ...]
    running: int
