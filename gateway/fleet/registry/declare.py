"""Declare: what a source says there is becomes the registry."""

from collections.abc import Collection, Sequence

import msgspec

from billing.kit.query import Conn
from gateway.errors import InvalidRequest, ReplicaConflict
from gateway.fleet.registry import sql
from gateway.fleet.registry.model import SeenRow, Source
from gateway.fleet.registry.read import read_replica
from gateway.settings import ReplicaSettings


async def declare(conn: Conn, source: Source, replicas: Sequence[ReplicaSettings], *, whole: bool) -> list[str]:
    """Makes these replicas of `source` as described, back from removal if need be, and returns the names of those that changed.

    `whole`: these are all of them, any other of this source is removed. One that another source has declared is left alone.
    """
    changed = await sql.DECLARE.all(
        conn,
        source,
        [one.name for one in replicas],
        [one.url for one in replicas],
        [msgspec.json.encode(one.models) for one in replicas],
        [one.slots for one in replicas],
        [one.accelerator for one in replicas],
        [one.price_micro_usd_per_hour for one in replicas],
        [one.loads for one in replicas],
        [one.models_max or len(one.models) for one in replicas],
        [msgspec.json.encode(one.labels) for one in replicas],
        whole,
    )
    return [row.name for row in changed]


async def register(conn: Conn, replica: ReplicaSettings, models: Collection[str]) -> SeenRow:
    """Declares one replica by hand; the same again changes nothing. `models` is what the catalogue has.

    Raises InvalidRequest for a model that the catalogue lacks, ReplicaConflict where settings or Kubernetes declare that name.
    """
    if unknown := [model for model in replica.models if model not in models]:
        raise InvalidRequest(f"models: the catalogue has no model {', '.join(unknown)}", param="models")
    await declare(conn, "api", [replica], whole=False)
    known = await read_replica(conn, replica.name)
    if known.source != "api":
        raise ReplicaConflict(f"{replica.name} is declared by {WHO[known.source]}; change it there, or choose another name")
    return known


WHO = {"config": "the settings", "kubernetes": "Kubernetes", "api": "hand"}
