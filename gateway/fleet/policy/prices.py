"""What capacity is worth now: two small linear programs over the demand of one period, solved by HiGHS.

The first (least makespan, level by level) splits the fleet into groups of pools that share a bottleneck and says how much of its
group a class of jobs takes. The second (least cost) says how much more than its price a pool is worth.
"""

from math import inf

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.program import Floats, minimize

_TINY = 1e-9


class Plan(Struct, frozen=True):
    """`group[c]` and `omega[c]`: the bottleneck of a class, and the share of it that a second of video takes; a group does one
    unit of work a second. `unit[a]`: units a second of a slot. `shadow[a]`: USD a slot-second beyond its price.
    `regret[c][a]`: cost over the least cost, less one; inf where impossible. `load[g]`: demand over capacity.
    `slots[m][a]`: slots of a pool that a model should have.
    """

    group: list[int]
    omega: list[float]
    pool_group: list[int]
    unit: list[float]
    shadow: list[float]
    regret: list[list[float]]
    load: list[float]
    slots: list[list[float]]


def make_plan(
    seconds: Floats,
    demand: Floats,
    slots: Floats,
    price: Floats,
    model_of: list[int],
    period_s: float,
    *,
    headroom: float,
    overflow: float,
    before: tuple[Floats, float] | None = None,
) -> Plan:
    """`seconds` (C, A): device-seconds per second of video, inf where impossible; `demand` (C): seconds of video asked for within
    `period_s`; `slots` (A): how many are up; `price` (A): USD a slot-second;
    `before`: the shadow prices so far, and how far to move from them.
    """
    usable = np.where(slots > 0, seconds, inf)
    demand = np.maximum(demand, max(demand.sum(), 1.0) * 1e-6)  # a class nobody asks for has its place too
    group, omega, pool_group, unit, load = _bottlenecks(usable, demand, slots, period_s)
    shadow, share = _shadow(usable, demand, slots * period_s * (1.0 - headroom), price, overflow)
    if before is not None:
        shadow = before[0] + before[1] * (shadow - before[0])
    with np.errstate(invalid="ignore"):
        worth = usable * (price + shadow)
        best = worth.min(axis=1, initial=inf)
        regret = np.where(np.isfinite(usable), worth / best[:, None] - 1.0, inf)
    models = max(model_of, default=-1) + 1
    wanted = np.zeros((models, len(slots)))
    for c, m in enumerate(model_of):
        wanted[m] += share[c] / period_s
    return Plan(group, omega, pool_group, unit, shadow.tolist(), regret.tolist(), load, wanted.tolist())


def _bottlenecks(
    seconds: Floats, demand: Floats, slots: Floats, period_s: float
) -> tuple[list[int], list[float], list[int], list[float], list[float]]:
    """Least makespan; the pools and classes of its bottleneck form a group, and the rest is solved again without them."""
    classes, pools = seconds.shape
    group, omega = [-1] * classes, [0.0] * classes
    pool_group, unit = [-1] * pools, [0.0] * pools
    load: list[float] = []
    while True:
        free = [a for a in range(pools) if pool_group[a] < 0]
        left = [c for c in range(classes) if group[c] < 0 and np.isfinite(seconds[c, free]).any()]
        if not left:
            return group, omega, pool_group, unit, load
        table = seconds[np.ix_(left, free)]
        makespan_s, worth = _makespan(table, demand[left], slots[free])
        cost = np.where(np.isfinite(table), np.where(np.isfinite(table), table, 0.0) * worth, inf).min(axis=1)
        for a, one in zip(free, worth.tolist(), strict=True):
            if one > _TINY:
                pool_group[a], unit[a] = len(load), one
        for c, one in zip(left, cost.tolist(), strict=True):
            if one > _TINY:
                group[c], omega[c] = len(load), one
        load.append(makespan_s / period_s)


def _makespan(seconds: Floats, demand: Floats, slots: Floats) -> tuple[float, Floats]:
    """Min f: every class's demand is served, no pool works longer than f on each of its slots. Returns f and the pools' duals."""
    c, a = np.nonzero(np.isfinite(seconds))
    arcs, classes, pools = len(c), len(demand), len(slots)
    # Columns: the arcs, then f. Rows: the classes, then the pools.
    starts = np.append(np.arange(0, 2 * arcs + 1, 2), 2 * arcs + pools)
    index = np.concatenate([np.stack([c, classes + a], axis=1).ravel(), classes + np.arange(pools)])
    value = np.concatenate([np.stack([np.ones(arcs), seconds[c, a]], axis=1).ravel(), -slots])
    found = minimize(
        np.append(np.zeros(arcs), 1.0),
        (np.append(demand, np.full(pools, -inf)), np.append(demand, np.zeros(pools))),
        (starts, index, value),
    )
    return float(found.columns[-1]), np.maximum(-found.duals[classes:], 0.0)


def _shadow(seconds: Floats, demand: Floats, capacity_s: Floats, price: Floats, overflow: float) -> tuple[Floats, Floats]:
    """Least cost, where work that finds no room costs `overflow` times its cheapest. Returns the pools' duals (USD a slot-second)
    and the device-seconds of each class on each pool.
    """
    c, a = np.nonzero(np.isfinite(seconds))
    arcs, classes, pools = len(c), len(demand), len(capacity_s)
    cost = seconds[c, a] * price[a]
    cheapest = np.full(classes, 0.0)
    for row in range(classes):
        cheapest[row] = cost[c == row].min(initial=inf)
    cheapest[~np.isfinite(cheapest)] = 0.0  # no chip is up: the overflow takes it and no price follows from it
    starts = np.concatenate([np.arange(0, 2 * arcs, 2), 2 * arcs + np.arange(classes + 1)])
    index = np.concatenate([np.stack([c, classes + a], axis=1).ravel(), np.arange(classes)])
    value = np.concatenate([np.stack([np.ones(arcs), seconds[c, a]], axis=1).ravel(), np.ones(classes)])
    found = minimize(
        np.append(cost, overflow * cheapest),
        (np.append(demand, np.full(pools, -inf)), np.append(demand, capacity_s)),
        (starts, index, value),
    )
    share = np.zeros_like(seconds)
    share[c, a] = found.columns[:arcs] * seconds[c, a]
    return np.maximum(-found.duals[classes:], 0.0), share
