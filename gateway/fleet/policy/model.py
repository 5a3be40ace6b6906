"""What the scheduler is told and what it answers. Plain values; times are seconds of one clock that never runs backwards."""

from collections.abc import Hashable, Sequence
from math import inf
from typing import Literal

import msgspec

from gateway.video import Tier

MICRO = 1_000_000
SECONDS_PER_HOUR = 3_600


Confidence = Literal["measured", "catalogue", "guess"]


class ModelSpec(msgspec.Struct, frozen=True):
    name: str
    memory_gib: int
    load_s: float


class PoolSpec(msgspec.Struct, frozen=True):
    """All slots of one accelerator type at one price."""

    name: str
    memory_gib: int
    price_micro_usd_per_hour: int


class SpeedSpec(msgspec.Struct, frozen=True):
    """Device-seconds: `overhead_s` for a job and `seconds_per_second` for each second of video; `sigma` is how far ln(actual
    / this) usually lies from 0. An untrusted figure is a guess: the pool proves itself on flex jobs first.
    """

    model: str
    resolution: str
    pool: str
    seconds_per_second: float
    overhead_s: float = 0.0
    sigma: float = 0.1
    trusted: bool = True


class Fleet:
    """The catalogue as the policy reads it: a class is a model at a resolution, everything else goes by index.

    `speed[c][a]` and `overhead[c][a]` are inf and 0 where pool `a` cannot run class `c`.
    """

    def __init__(self, models: Sequence[ModelSpec], pools: Sequence[PoolSpec], speeds: Sequence[SpeedSpec]) -> None:
        self.models, self.pools = tuple(models), tuple(pools)
        self.model_index = {model.name: m for m, model in enumerate(self.models)}
        self.pool_index = {pool.name: a for a, pool in enumerate(self.pools)}
        self.classes = tuple(sorted({(self.model_index[one.model], one.resolution) for one in speeds}))
        self.class_index = {(self.models[m].name, resolution): c for c, (m, resolution) in enumerate(self.classes)}
        self.model_of = tuple(m for m, _ in self.classes)
        self.price_per_s = tuple(pool.price_micro_usd_per_hour / MICRO / SECONDS_PER_HOUR for pool in self.pools)
        width = len(self.pools)
        self.speed = [[inf] * width for _ in self.classes]
        self.overhead = [[0.0] * width for _ in self.classes]
        self.sigma = [[0.0] * width for _ in self.classes]
        self.trusted = [[True] * width for _ in self.classes]
        for one in speeds:
            c, a = self.class_index[one.model, one.resolution], self.pool_index[one.pool]
            if self.models[self.model_of[c]].memory_gib <= self.pools[a].memory_gib:
                self.speed[c][a], self.overhead[c][a] = one.seconds_per_second, one.overhead_s
                self.sigma[c][a], self.trusted[c][a] = one.sigma, one.trusted

    def runs(self, model: int, pool: int) -> bool:
        return any(self.speed[c][pool] < inf for c, m in enumerate(self.model_of) if m == model)


class ReplicaSpec(msgspec.Struct, frozen=True):
    """One server. `loads`: models are loaded and unloaded on request (Triton's explicit mode); else it serves what it has.
    `models_max`: so many at a time, however much memory there is.
    """

    name: str
    pool: str
    slots: int = 1
    loaded: tuple[str, ...] = ()
    loads: bool = True
    models_max: int = 256


class Queued(msgspec.Struct, frozen=True):
    """A job that waits. `seconds` of video, times its steps over the model's default; `promised_at` None: no promise was made.
    `tried` holds the replicas on which it failed.
    """

    job: Hashable
    organization: str
    model: str
    resolution: str
    seconds: float
    tier: Tier
    submitted_at: float
    promised_at: float | None = None
    tried: tuple[str, ...] = ()


class Running(msgspec.Struct, frozen=True):
    """A job that runs; `started_at` None while its model is being loaded."""

    queued: Queued
    replica: str
    placed_at: float
    started_at: float | None


class Start(msgspec.Struct, frozen=True):
    """Run `job` on `replica`; first unload `unload` and load `load`, if it is named. `hedge`: beside an attempt that is
    overdue.
    """

    job: Hashable
    replica: str
    load: str = ""
    unload: tuple[str, ...] = ()
    hedge: bool = False


class Stop(msgspec.Struct, frozen=True):
    """Cancel this attempt, confirm it, and report it: `failed` for a straggler, `stopped` when another attempt won."""

    job: Hashable
    replica: str
    reason: Literal["straggler", "superseded"]


class Load(msgspec.Struct, frozen=True):
    """Load a model on an idle replica ahead of its jobs; report `loaded`."""

    replica: str
    model: str
    unload: tuple[str, ...]


Decision = Start | Stop | Load


class Quote(msgspec.Struct, frozen=True):
    """What can be promised now. `start_s`: seconds until the promised start, None when nothing can be promised within the tier's
    limit; then `retry_s` says when asking again is worthwhile. `likely_s` is the expected start, `runtime_s` the expected and
    `runtime_high_s` the cautious run time; `confidence` names the worst of what these rest on.
    """

    tier: Tier
    start_s: float | None
    likely_s: float
    runtime_s: float
    runtime_high_s: float
    confidence: Confidence
    retry_s: float = 0.0


class Refusal(msgspec.Struct, frozen=True):
    """A model or replica that cannot be used, and why."""

    subject: str
    reason: str
