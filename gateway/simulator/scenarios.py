"""Named scenarios: seeded traces with what befalls the fleet in them, sized by what the fleet at hand can do.

Seeds 1 and 2 were used to choose the parameters of the policy (docs/fleet/README.md says how); published figures are of
HELD_OUT_SEEDS.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from gateway.fleet.policy.model import Fleet, ReplicaSpec
from gateway.simulator.setup import Arrival, Event, Setup, SetupError, World
from gateway.simulator.traces import HOUR_S, USUAL, Demand, Rate, arrivals, capacity_per_s, crowd, diurnal, festival, steady

HELD_OUT_SEEDS = tuple(range(201, 211))
CROWD_HOURS = (2.0, 3.0)
_CROWD = ("wan2.2-t2v-a14b", "480p")


class Ground(msgspec.Struct, frozen=True):
    """The fleet a scenario is to be played on."""

    fleet: Fleet
    replicas: tuple[ReplicaSpec, ...]

    def trace(
        self, load: float, seed: int, rate: Rate = steady, rate_max: float = 1.0, hours: float = 8.0
    ) -> tuple[Arrival, ...]:
        """`load` at rate 1, as a share of what the fleet's bottleneck can do. Raises SetupError."""
        per_s = load * self.capacity_per_s(USUAL)
        return arrivals(USUAL, per_s, rate, rate_max, hours * HOUR_S, seed)

    def capacity_per_s(self, demand: Demand) -> float:
        missing = [
            f"{model} at {resolution}" for model, resolution in demand.share if (model, resolution) not in self.fleet.class_index
        ]
        if missing:
            raise SetupError(f"the named scenarios need a fleet that can make {', '.join(missing)}; give a trace of your own")
        return capacity_per_s(self.fleet, self.replicas, demand)

    def setup(self, trace: Sequence[Arrival], events: Sequence[Event] = (), world: World = World()) -> Setup:  # noqa: B008 - frozen
        return Setup(self.fleet, self.replicas, tuple(sorted(trace, key=lambda one: one.arrival_s)), tuple(events), world)


def _flash_crowd(ground: Ground, seed: int) -> Setup:
    """Two hours in, one organization asks for half of the fleet on top of a load of 0.7, for an hour."""
    per_s = 0.5 * ground.capacity_per_s(replace(USUAL, share={_CROWD: 1.0}, lengths_s=(5.0,)))
    return ground.setup(
        (
            *ground.trace(0.7, seed),
            *crowd(_CROWD, per_s, CROWD_HOURS[0] * HOUR_S, (CROWD_HOURS[1] - CROWD_HOURS[0]) * HOUR_S, seed),
        )
    )


def _lost_pool(ground: Ground, seed: int) -> Setup:
    """Half of the first pool vanishes for two hours."""
    pool = ground.fleet.pools[0].name
    events = (Event(2 * HOUR_S, "pool_loss", pool, 0.5), Event(4 * HOUR_S, "pool_back", pool, 0.5))
    return ground.setup(ground.trace(0.7, seed), events)


def _slowdown(ground: Ground, seed: int) -> Setup:
    """The first pool takes twice as long for two hours."""
    pool = ground.fleet.pools[0].name
    events = (Event(2 * HOUR_S, "slowdown", pool, 2.0), Event(4 * HOUR_S, "slowdown", pool, 1.0))
    return ground.setup(ground.trace(0.7, seed), events)


SCENARIOS: Mapping[str, Callable[[Ground, int], Setup]] = {
    "busy": lambda ground, seed: ground.setup(ground.trace(0.9, seed)),
    "diurnal": lambda ground, seed: ground.setup(ground.trace(0.9, seed, diurnal, hours=24)),
    "overload": lambda ground, seed: ground.setup(ground.trace(1.37, seed)),
    "festival": lambda ground, seed: ground.setup(ground.trace(0.05, seed, festival, 50.0)),
    "deep-festival": lambda ground, seed: ground.setup(ground.trace(0.1, seed, festival, 50.0)),
    "crowd": _flash_crowd,
    "without-crowd": lambda ground, seed: ground.setup(ground.trace(0.7, seed)),
    "lost-pool": _lost_pool,
    "slowdown": _slowdown,
    "failures": lambda ground, seed: ground.setup(ground.trace(0.7, seed), world=World(failures=0.1)),
    "wrong-speeds": lambda ground, seed: ground.setup(ground.trace(0.7, seed), world=World(noise=0.15, bias=0.3)),
}
"""busy: a load of 0.9. diurnal: a day whose busiest hour brings 0.9. overload: 1.37. festival: everybody comes 50 times as
often as on a day that fills a twentieth of the fleet; deep-festival: a tenth, so that priority jobs alone are as much as it can
do. The others play on a load of 0.7: a flash crowd (and the same without it), a lost pool, a slow pool, one attempt in ten
failing, and true speeds that lie about a third off the catalogue."""
