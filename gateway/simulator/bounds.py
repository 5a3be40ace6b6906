"""What no policy can beat: a linear program over time, in which jobs are a fluid that may be split at will.

Time is cut into buckets. A class's jobs wait from the bucket in which they arrive and begin within their tier's target or are
late; what begins holds its slots as long as a job of average length runs. The program goes on past the last arrival until all
is done. Swaps, whole jobs, chance and not knowing the future are left out, so the figures flatter whatever they bound.
"""

from collections.abc import Sequence
from math import ceil, inf

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.model import Fleet
from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.fleet.policy.program import Floats, minimize
from gateway.simulator.setup import Arrival, Setup

BUCKET_S = 600.0
_LATE = (1e5, 1e3, 1e2)
"""Cost of a second of video that begins too late, by tier: far above any chip's, and in the order of their right of way."""
_ROOM = 1.5


class Bounds(Struct, frozen=True):
    """`usd_per_s`: least cost of a generated second while as much as possible begins in time; `loose_usd_per_s`: when work may
    wait for ever. `attainable`: by tier, the most work that can begin in time.
    """

    usd_per_s: float
    loose_usd_per_s: float
    attainable: tuple[float, float, float]


class _Program(Struct):
    """Columns as they are collected: cost, upper bound, and (row, factor) of each."""

    cost: list[float]
    upper: list[float]
    rows: list[int]
    factors: list[float]
    starts: list[int]

    def add(self, cost: float, upper: float, *entries: tuple[int, float]) -> int:
        self.cost.append(cost)
        self.upper.append(upper)
        self.rows += [row for row, _ in entries]
        self.factors += [factor for _, factor in entries]
        self.starts.append(len(self.rows))
        return len(self.cost) - 1


def bounds(setup: Setup, served: Sequence[Arrival]) -> Bounds:
    """Of these arrivals, all of which are to be served, on the fleet as it is at the start."""
    work, length_s = _work(setup.fleet, served)
    slots = np.zeros(len(setup.fleet.pools))
    for replica in setup.replicas:
        slots[setup.fleet.pool_index[replica.pool]] += replica.slots
    windows = [ceil(target / BUCKET_S) for target in DEFAULT.target_s]
    strict, late = _solve(setup.fleet, work, length_s, slots, windows)
    loose, _ = _solve(setup.fleet, work, length_s, slots, None)
    total = work.sum(axis=(0, 2))
    attainable = [float(1.0 - missed / max(asked, 1e-9)) for missed, asked in zip(late, total, strict=True)]
    seconds = max(float(total.sum()), 1e-9)
    return Bounds(strict / seconds, loose / seconds, (attainable[0], attainable[1], attainable[2]))


def _work(fleet: Fleet, served: Sequence[Arrival]) -> tuple[Floats, Floats]:
    """Seconds of video by class, tier and bucket of arrival, and the average length by class."""
    last_s = max((one.arrival_s for one in served), default=0.0)
    work = np.zeros((len(fleet.classes), TIER_COUNT, int(last_s / BUCKET_S) + 1))
    count = np.zeros(len(fleet.classes))
    for one in served:
        c = fleet.class_index[one.model, one.resolution]
        work[c, TIERS.index(one.tier), int(one.arrival_s / BUCKET_S)] += one.seconds
        count[c] += 1
    return work, work.sum(axis=(1, 2)) / np.maximum(count, 1)


def _solve(fleet: Fleet, work: Floats, length_s: Floats, slots: Floats, windows: Sequence[int] | None) -> tuple[float, Floats]:
    """Least cost, and by tier the work that begins late; without `windows` nothing is ever late."""
    flows = [(c, t) for c in range(work.shape[0]) for t in range(TIER_COUNT) if work[c, t].any()]
    least_s = sum(float(work[c].sum()) * min(fleet.speed[c]) for c in {c for c, _ in flows})
    buckets = work.shape[2] + ceil(_ROOM * least_s / max(float(slots.sum()), 1.0) / BUCKET_S) + 12
    program = _Program([], [], [], [], [0])
    # Rows: what of each flow is in time in each bucket, what is late, and each pool's capacity.
    overdue, capacity = len(flows) * buckets, 2 * len(flows) * buckets
    late: list[list[int]] = [[] for _ in range(TIER_COUNT)]
    need = np.zeros(overdue)
    for number, (c, t) in enumerate(flows):
        arrived = np.pad(work[c, t], (0, buckets - work.shape[2]))
        total = arrived.cumsum()
        need[number * buckets : (number + 1) * buckets] = arrived
        for b in range(buckets):
            row = number * buckets + b
            recent = total[b] if windows is None or b < windows[t] else total[b] - total[b - windows[t]]
            for at in (row, overdue + row) if total[b] > recent else (row,):
                _begin(program, fleet, (c, b, at), float(length_s[c]), slots, (capacity, buckets))
            if total[b] > recent:
                late[t].append(program.add(_LATE[t], inf, (row, 1.0), (overdue + row, -1.0)))
            if b + 1 < buckets:
                program.add(0.0, float(recent), (row, 1.0), (row + 1, -1.0))
                program.add(0.0, inf, (overdue + row, 1.0), (overdue + row + 1, -1.0))
    pools = len(slots) * buckets
    found = minimize(
        np.array(program.cost),
        (
            np.concatenate([need, np.zeros(overdue), np.full(pools, -inf)]),
            np.concatenate([need, np.zeros(overdue), np.repeat(slots * BUCKET_S, buckets)]),
        ),
        (np.array(program.starts), np.array(program.rows), np.array(program.factors)),
        np.array(program.upper),
    )
    missed = np.array([found.columns[at].sum() if at else 0.0 for at in late])
    return found.cost - float(missed @ np.array(_LATE)), missed


def _begin(
    program: _Program, fleet: Fleet, what: tuple[int, int, int], length_s: float, slots: Floats, grid: tuple[int, int]
) -> None:
    """Columns: what of a class begins in a bucket on each pool, on average in the bucket's middle, and holds its slots from
    then on.
    """
    (c, b, row), (capacity, buckets) = what, grid
    for a, count in enumerate(slots):
        speed = fleet.speed[c][a]
        if speed == inf or not count:
            continue
        run, entries, at = speed * length_s / BUCKET_S, [(row, 1.0)], b
        begin, end = b + 0.5, b + 0.5 + run
        while at < min(end, buckets):
            held = min(end, at + 1) - max(begin, at)
            entries.append((capacity + a * buckets + at, held / run * speed))
            at += 1
        program.add(speed * fleet.price_per_s[a], inf, *entries)
