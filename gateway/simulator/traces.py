"""Seeded traces: who asks for what, when. Organizations follow a Zipf law; arrivals are a Poisson process of a rate that
changes.
"""

from collections.abc import Callable, Sequence
from math import cos, pi

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.model import Fleet, ReplicaSpec
from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.fleet.policy.prices import make_plan
from gateway.fleet.policy.timing import Timings
from gateway.simulator.setup import Arrival

Rate = Callable[[float], float]
"""Seconds since the start → arrivals relative to the base rate."""
HOUR_S = 3_600.0
CROWD = "crowd"
"""The organization of a flash crowd."""


class Demand(Struct, frozen=True):
    """`share`: (model, resolution) → share of the jobs. `tiers`: shares of priority, standard, flex."""

    share: dict[tuple[str, str], float]
    tiers: tuple[float, float, float] = (0.2, 0.5, 0.3)
    lengths_s: tuple[float, ...] = (3.0, 4.0, 5.0, 5.0, 5.0, 8.0, 10.0)
    organizations: int = 200
    zipf: float = 1.1


USUAL = Demand({
    ("wan2.2-t2v-a14b", "480p"): 0.12,
    ("wan2.2-t2v-a14b", "720p"): 0.10,
    ("wan2.2-t2v-a14b", "1080p"): 0.02,
    ("wan2.2-ti2v-5b", "720p"): 0.18,
    ("wan2.1-t2v-14b", "480p"): 0.08,
    ("wan2.1-t2v-14b", "720p"): 0.05,
    ("wan2.1-t2v-1.3b", "480p"): 0.20,
    ("hunyuanvideo", "720p"): 0.06,
    ("cogvideox1.5-5b", "720p"): 0.08,
    ("cogvideox-2b", "480p"): 0.11,
})  # fmt: skip


def capacity_per_s(fleet: Fleet, replicas: Sequence[ReplicaSpec], demand: Demand) -> float:
    """Jobs a second of this mix at which the fleet's bottleneck is just full."""
    slots = np.zeros(len(fleet.pools))
    for replica in replicas:
        slots[fleet.pool_index[replica.pool]] += replica.slots
    wanted = np.zeros(len(fleet.classes))
    for key, share in demand.share.items():
        wanted[fleet.class_index[key]] = share * float(np.mean(demand.lengths_s))
    plan = make_plan(
        Timings(fleet, DEFAULT).seconds(),
        wanted,
        slots,
        np.array(fleet.price_per_s),
        list(fleet.model_of),
        1.0,
        headroom=0.0,
        overflow=4.0,
    )
    return 1.0 / max(plan.load)


def arrivals(demand: Demand, per_s: float, rate: Rate, rate_max: float, span_s: float, seed: int) -> tuple[Arrival, ...]:
    """A Poisson process of `per_s` × `rate`, thinned from `rate_max`."""
    random = np.random.default_rng([seed, 7])
    count = random.poisson(per_s * rate_max * span_s)
    times = np.sort(random.uniform(0.0, span_s, count))
    times = times[random.random(count) < np.array([rate(at) for at in times]) / rate_max]
    keys, shares = list(demand.share), np.array(list(demand.share.values()))
    ranks = np.arange(1, demand.organizations + 1) ** -demand.zipf
    kinds = random.choice(len(keys), len(times), p=shares / shares.sum())
    owners = random.choice(demand.organizations, len(times), p=ranks / ranks.sum())
    tiers = random.choice(len(TIERS), len(times), p=demand.tiers)
    lengths = random.choice(demand.lengths_s, len(times))
    made: list[Arrival] = []
    for place, at in enumerate(times.tolist()):
        model, resolution = keys[int(kinds[place])]
        made.append(Arrival(at, f"org-{owners[place]}", model, resolution, float(lengths[place]), TIERS[int(tiers[place])]))
    return tuple(made)


def crowd(
    key: tuple[str, str], per_s: float, start_s: float, span_s: float, seed: int, seconds: float = 5.0
) -> tuple[Arrival, ...]:
    """One organization that asks for the same thing again and again, all of it standard."""
    random = np.random.default_rng([seed, 11])
    times = np.sort(random.uniform(start_s, start_s + span_s, random.poisson(per_s * span_s)))
    return tuple(Arrival(float(at), CROWD, key[0], key[1], seconds, "standard") for at in times)


def steady(_: float) -> float:
    return 1.0


def diurnal(at: float) -> float:
    """A day in which the busiest hour brings 1.0 and the quietest 0.3, starting at its quietest."""
    return 0.65 - 0.35 * cos(2 * pi * at / 86_400.0)


def festival(at: float) -> float:
    """1 hour as usual, 10 times that for one, 50 times for three, 20 times for two, then as usual."""
    return (1, 10, 50, 50, 50, 20, 20, 1)[min(int(at / HOUR_S), 7)]
