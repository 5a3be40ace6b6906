"""A replica as operators are shown it, over HTTP and on the command line."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.fleet.registry.model import Desired, SeenRow, Source


class Quarantine(msgspec.Struct, frozen=True):
    """No work until it is released: by hand, or, where the dispatcher set it, after a clean run of a sample."""

    reason: str
    by: str
    at: datetime


class Live(msgspec.Struct, frozen=True):
    """What the dispatcher's leader saw last. `broken`: models that keep failing there and are left alone for a while."""

    condition: str
    reason: str
    loaded: tuple[str, ...]
    broken: tuple[str, ...]
    running: int
    seen_at: datetime


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """A Triton server. `state` is what is wanted of it, `live` what it is like; null while no dispatcher looks."""

    object: Literal["replica"] = "replica"
    name: str
    url: str
    models: tuple[str, ...]
    slots: int
    accelerator: str
    price_micro_usd_per_hour: int | None
    loads: bool
    models_max: int
    labels: dict[str, str]
    source: Source
    state: Desired
    quarantine: Quarantine | None
    live: Live | None
    version: int
    updated_at: datetime


class ReplicaList(msgspec.Struct, frozen=True):
    data: tuple[ReplicaView, ...]
    object: Literal["list"] = "list"


def view_of(row: SeenRow) -> ReplicaView:
    """What operators are shown of a row."""
    fields: dict[str, Any] = {
        name: getattr(row, name) for name in ReplicaView.__struct_fields__ if name in SeenRow.__struct_fields__
    }
    fields["labels"] = msgspec.json.decode(row.labels)
    fields["quarantine"] = fields["live"] = None
    if row.quarantine_reason is not None:
        fields["quarantine"] = {"reason": row.quarantine_reason, "by": row.quarantined_by, "at": row.quarantined_at}
    if row.condition is not None:
        fields["live"] = {name: getattr(row, name) for name in Live.__struct_fields__}
    return msgspec.convert(fields, ReplicaView)
