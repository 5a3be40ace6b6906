"""Small fleets for tests of the policy: round figures, so that expectations can be worked out by hand."""

from msgspec.structs import replace

from gateway.fleet.policy.model import Fleet, ModelSpec, PoolSpec, Queued, ReplicaSpec, SpeedSpec
from gateway.fleet.policy.parameters import DEFAULT
from gateway.fleet.policy.scheduler import Scheduler
from gateway.video import Tier

BIG, SMALL = "big", "small"
MODELS = (ModelSpec(BIG, 80, 60.0), ModelSpec(SMALL, 10, 5.0))
POOLS = (PoolSpec("dear", 80, 3_600_000), PoolSpec("cheap", 24, 360_000), PoolSpec("new", 80, 1_000_000))
"""0.001 and 0.0001 USD a slot-second."""
SPEEDS = (
    SpeedSpec(BIG, "480p", "dear", 20.0),
    SpeedSpec(SMALL, "480p", "dear", 5.0),
    SpeedSpec(SMALL, "480p", "cheap", 10.0),
    SpeedSpec(SMALL, "720p", "dear", 10.0),
    SpeedSpec(SMALL, "720p", "cheap", 25.0),
)
GUESS = SpeedSpec(BIG, "480p", "new", 40.0, sigma=0.7, trusted=False)


def fleet(*more: SpeedSpec) -> Fleet:
    return Fleet(MODELS, POOLS, (*SPEEDS, *more))


def scheduler(*replicas: ReplicaSpec, speeds: tuple[SpeedSpec, ...] = (), hedge_share: float = 0.01) -> Scheduler:
    """With hedges, which dispatch does not use yet (docs/decisions/0061)."""
    made = Scheduler(fleet(*speeds), 0.0, replace(DEFAULT, hedge_share=hedge_share))
    for spec in replicas:
        made.replica_up(spec, 0.0)
    made.tick(0.0)
    return made


def dear(count: int, *loaded: str, loads: bool = True) -> tuple[ReplicaSpec, ...]:
    return tuple(ReplicaSpec(f"dear-{n}", "dear", 1, loaded, loads) for n in range(count))


def cheap(count: int, *loaded: str, loads: bool = True) -> tuple[ReplicaSpec, ...]:
    return tuple(ReplicaSpec(f"cheap-{n}", "cheap", 1, loaded, loads) for n in range(count))


def job(
    number: int, *, model: str = SMALL, tier: Tier = "standard", organization: str = "o", seconds: float = 5.0, at: float = 0.0,
    within: float | None = None,
) -> Queued:  # fmt: skip
    """`within`: the promised start, seconds after it was submitted."""
    return Queued(number, organization, model, "480p", seconds, tier, at, None if within is None else at + within)
