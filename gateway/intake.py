"""Intake: waiting jobs as their rows have them → as the scheduler knows them. Pure.

The scheduler's seconds are the length of the video times its steps over the model's default: run time is proportional to steps.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gateway.fleet.catalogue import ModelRow
from gateway.fleet.policy.model import Queued
from gateway.fleet.policy.restore import Backlog
from gateway.jobs.waiting.model import Flow, Waiting

_JOB = np.dtype(
    {
        "names": ["id", "id_high", "id_low", "seconds", "submitted_at", "promised_at"],
        "formats": ["V16", ">u8", ">u8", ">f8", ">f8", ">f8"],
        "offsets": [0, 0, 8, 16, 24, 32],
    }
)
_KEY = np.dtype([("organization", "V16"), ("id", "V16")])


def queued(row: Waiting, models: Mapping[str, ModelRow]) -> Queued:
    return Queued(
        row.key,
        row.org_id.hex,
        row.model,
        row.resolution,
        row.seconds * _effort(row.model, row.steps, models),
        row.tier,
        row.submitted_at,
        row.promised_at,
        tuple(row.tried),
    )


def first(rows: Sequence[Waiting], models: Mapping[str, ModelRow]) -> Backlog:
    """A few jobs at once, which are put into the order of their ids."""
    jobs = [queued(row, models) for row in sorted(rows, key=lambda row: row.id)]
    kinds: dict[tuple[str, str, str], int] = {}
    owners: dict[str, int] = {}
    return Backlog(
        jobs=[one.job for one in jobs],
        kind=np.array([kinds.setdefault((one.model, one.resolution, one.tier), len(kinds)) for one in jobs], dtype=np.int64),
        kinds=list(kinds),
        owner=np.array([owners.setdefault(one.organization, len(owners)) for one in jobs], dtype=np.int64),
        organizations=list(owners),
        seconds=np.array([one.seconds for one in jobs], dtype=np.float64),
        submitted_at=np.array([one.submitted_at for one in jobs], dtype=np.float64),
        promised_at=np.array([np.nan if one.promised_at is None else one.promised_at for one in jobs], dtype=np.float64),
        tried={one.job: one.tried for one in jobs if one.tried},
    )


def backlog(flows: Sequence[Flow], models: Mapping[str, ModelRow]) -> Backlog:
    """Many jobs at once, in the order of their ids, which is that of their submission."""
    rows = np.frombuffer(b"".join(flow.jobs for flow in flows), _JOB)
    counts = [len(flow.jobs) // _JOB.itemsize for flow in flows]
    order = np.lexsort((rows["id_low"], rows["id_high"]))
    keys = np.empty(len(rows), _KEY)
    keys["id"] = rows["id"]
    keys["organization"] = np.repeat(np.frombuffer(b"".join(flow.org_id.bytes for flow in flows), "V16"), counts)
    packed = keys[order].tobytes()
    kinds: dict[tuple[str, str, str], int] = {}
    owners: dict[str, int] = {}
    kind = [kinds.setdefault((flow.model, flow.resolution, flow.tier), len(kinds)) for flow in flows]
    owner = [owners.setdefault(flow.org_id.hex, len(owners)) for flow in flows]
    effort = [_effort(flow.model, flow.steps, models) for flow in flows]
    return Backlog(
        jobs=[packed[at : at + _KEY.itemsize] for at in range(0, len(packed), _KEY.itemsize)],
        kinds=list(kinds),
        kind=np.repeat(np.array(kind, dtype=np.int64), counts)[order],
        organizations=list(owners),
        owner=np.repeat(np.array(owner, dtype=np.int64), counts)[order],
        seconds=(rows["seconds"] * np.repeat(np.array(effort, dtype=np.float64), counts))[order],
        submitted_at=rows["submitted_at"][order].astype(np.float64),
        promised_at=rows["promised_at"][order].astype(np.float64),
    )


def _effort(model: str, steps: int, models: Mapping[str, ModelRow]) -> float:
    """1 for a model that is not in the catalogue any more."""
    known = models.get(model)
    return steps / known.steps_default if known is not None else 1.0
