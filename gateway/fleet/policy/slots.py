"""Replicas, their slots and the models on them: which slots are free for which model, and which of them is to be used first.

A replica stands in the indexes only while it may be given work. Breakers, one for each model on a replica, open after failures,
and let one flex job through after a pause before they close.
"""

from collections.abc import Iterable
from heapq import heappop, heappush
from math import exp
from typing import Literal

from gateway.fleet.policy.model import Fleet, ReplicaSpec
from gateway.fleet.policy.parameters import Parameters

State = Literal["up", "down", "draining", "cordoned"]
_SLOW_RUNS = 3
_SURPRISE_MAX = 2.0


class Breaker:
    """The last outcomes of one model on one replica. `open_until` > 0: no work; afterwards one trial at a time."""

    __slots__ = ("open_until", "outcomes", "pause_s", "trial")

    def __init__(self, pause_s: float) -> None:
        self.outcomes: list[bool] = []
        self.open_until, self.pause_s = 0.0, pause_s
        self.trial = False
        """Half open: the next outcome decides."""


class Replica:
    """One server. `running` maps what runs on it to the index of its model; `loading` is the model on its way, -1 for none."""

    __slots__ = (
        "breakers",
        "counted",
        "loaded",
        "loading",
        "loads",
        "models_max",
        "name",
        "order",
        "places",
        "pool",
        "ratio",
        "ratio_at",
        "running",
        "runs",
        "slots",
        "state",
    )  # fmt: skip

    def __init__(self, spec: ReplicaSpec, pool: int, loaded: frozenset[int], order: int) -> None:
        self.name, self.pool, self.slots, self.loads, self.order = spec.name, pool, spec.slots, spec.loads, order
        self.models_max = spec.models_max
        self.loaded = loaded
        self.loading = -1
        self.running: dict[object, int] = {}
        self.state: State = "up"
        self.breakers: dict[int, Breaker] = {}
        self.ratio, self.ratio_at, self.runs = 0.0, 0.0, 0
        """ln(its run times / those of its pool), and when that was last learnt."""
        self.places: list[dict[Replica, None]] = []
        self.counted = 0

    @property
    def free(self) -> int:
        return self.slots - len(self.running) if self.state == "up" and self.loading < 0 else 0


class Slots:
    """The free slots: `warm[a][m]` has the model, `slow[a][m]` too but runs long, `trial[a][m]` must prove itself first,
    `cold[a][models]` is idle and can load. Each is a dict used as a set in a fixed order, so that choices repeat.
    """

    def __init__(self, fleet: Fleet, parameters: Parameters) -> None:
        self._fleet, self._parameters = fleet, parameters
        pools, models = range(len(fleet.pools)), range(len(fleet.models))
        self.by_name: dict[str, Replica] = {}
        self.warm: list[list[dict[Replica, None]]] = [[{} for _ in models] for _ in pools]
        self.slow: list[list[dict[Replica, None]]] = [[{} for _ in models] for _ in pools]
        self.trial: list[list[dict[Replica, None]]] = [[{} for _ in models] for _ in pools]
        self.cold: list[dict[frozenset[int], dict[Replica, None]]] = [{} for _ in pools]
        self.up, self.free = [0] * len(fleet.pools), [0] * len(fleet.pools)
        self._ratios = [[0.0, 0] for _ in pools]
        """The sum of `Replica.ratio` over the replicas of each pool that have run something, and their number."""
        self.flex = [0] * len(fleet.pools)
        """Slots of each pool that flex jobs hold."""
        self.holding: list[list[int]] = [[0] * len(fleet.models) for _ in pools]
        """Replicas of each pool that are up and have each model, or are loading it."""
        self._reopen: list[tuple[float, int, Replica, int]] = []
        self._order = 0

    # -- replicas come and go --------------------------------------------------------------------------------------------
    def add(self, spec: ReplicaSpec, now: float) -> Replica:
        """A new replica, or one that comes back: it then starts with a clean slate."""
        assert spec.name not in self.by_name, "a replica that comes back was removed first"
        loaded = frozenset(self._fleet.model_index[name] for name in spec.loaded)
        replica = Replica(spec, self._fleet.pool_index[spec.pool], loaded, self._order)
        self._order += 1
        self.by_name[spec.name] = replica
        self.up[replica.pool] += replica.slots
        self._hold(replica, loaded, 1)
        self.refresh(replica, now)
        return replica

    def set_state(self, replica: Replica, state: State, now: float) -> None:
        was, replica.state = replica.state == "up", state
        change = (state == "up") - was
        self.up[replica.pool] += replica.slots * change
        for m in replica.loaded | ({replica.loading} - {-1}):
            self.holding[replica.pool][m] += change
        self.refresh(replica, now)

    def remove(self, replica: Replica, now: float) -> None:
        self.set_state(replica, "down", now)
        del self.by_name[replica.name]
        self._ratios[replica.pool][0] -= replica.ratio
        self._ratios[replica.pool][1] -= replica.runs > 0

    # -- work ------------------------------------------------------------------------------------------------------------
    def occupy(self, replica: Replica, key: object, model: int, now: float) -> None:
        assert replica.free > 0, "a slot runs one job"
        replica.running[key] = model
        self.refresh(replica, now)

    def vacate(self, replica: Replica, key: object, now: float) -> None:
        del replica.running[key]
        self.refresh(replica, now)

    def swap(self, replica: Replica, model: int, unload: frozenset[int], now: float) -> None:
        """The replica unloads and begins to load; until then it has neither."""
        self._hold(replica, unload, -1)
        self._hold(replica, {model}, 1)
        replica.loaded, replica.loading = replica.loaded - unload, model
        self.refresh(replica, now)

    def swapped(self, replica: Replica, *, loaded: bool, now: float) -> None:
        if loaded:
            replica.loaded |= {replica.loading}
        else:
            self._hold(replica, {replica.loading}, -1)
        replica.loading = -1
        self.refresh(replica, now)

    def found(self, replica: Replica, loaded: frozenset[int], now: float) -> None:
        """It has these models, whoever loaded and unloaded them; what placement is loading there is not among them."""
        self._hold(replica, replica.loaded - loaded, -1)
        self._hold(replica, loaded - replica.loaded, 1)
        replica.loaded = loaded
        self.refresh(replica, now)

    def victims(self, replica: Replica, model: int) -> frozenset[int]:
        """What must be unloaded so that `model` fits, the largest first."""
        room = self._fleet.pools[replica.pool].memory_gib - self._fleet.models[model].memory_gib
        kept = sorted(replica.loaded, key=lambda m: (self._fleet.models[m].memory_gib, m))
        while kept and (len(kept) >= replica.models_max or sum(self._fleet.models[m].memory_gib for m in kept) > room):
            kept.pop()
        return replica.loaded - frozenset(kept)

    # -- what was learnt about a replica ---------------------------------------------------------------------------------
    def timed(self, replica: Replica, surprise: float, now: float) -> None:
        """`surprise`: ln(actual / expected of its pool) of one run."""
        aged = replica.ratio * 0.5 ** ((now - replica.ratio_at) / self._parameters.slow_memory_s)
        replica.runs += 1
        surprise = max(-_SURPRISE_MAX, min(_SURPRISE_MAX, surprise))
        ratio = aged + (surprise - aged) * max(0.3, 1 / replica.runs)
        self._ratios[replica.pool][0] += ratio - replica.ratio
        self._ratios[replica.pool][1] += replica.runs == 1
        replica.ratio, replica.ratio_at = ratio, now

    def slowness(self, replica: Replica, now: float) -> float:
        """How many times longer than the others of its pool it takes, as far as that is remembered. A catalogue that is wrong
        about a chip makes none of them slow.
        """
        if replica.runs < _SLOW_RUNS:
            return 1.0
        total, count = self._ratios[replica.pool]
        return exp((replica.ratio - total / count) * 0.5 ** ((now - replica.ratio_at) / self._parameters.slow_memory_s))

    def succeeded(self, replica: Replica, model: int) -> None:
        breaker = replica.breakers.get(model)
        if breaker is None:
            return
        if breaker.trial:
            del replica.breakers[model]
            return
        breaker.outcomes = [*breaker.outcomes[1 - self._parameters.breaker_window :], True]

    def failed(self, replica: Replica, model: int, now: float) -> None:
        breaker = replica.breakers.setdefault(model, Breaker(self._parameters.breaker_pause_s))
        breaker.outcomes = [*breaker.outcomes[1 - self._parameters.breaker_window :], False]
        failures = breaker.outcomes.count(False)
        if breaker.trial:
            breaker.pause_s = min(2 * breaker.pause_s, self._parameters.breaker_pause_max_s)
        elif failures < self._parameters.breaker_failures or 2 * failures <= len(breaker.outcomes):
            return
        breaker.trial, breaker.open_until = False, now + breaker.pause_s
        heappush(self._reopen, (breaker.open_until, replica.order, replica, model))
        self.refresh(replica, now)

    def shut(self, replica: Replica, model: int, pause_s: float, now: float) -> None:
        """No work for this model there for a while, for a reason that is known elsewhere; then one job is tried."""
        breaker = replica.breakers.setdefault(model, Breaker(self._parameters.breaker_pause_s))
        breaker.trial, breaker.open_until = False, now + pause_s
        heappush(self._reopen, (breaker.open_until, replica.order, replica, model))
        self.refresh(replica, now)

    def reopen(self, now: float) -> None:
        """Breakers whose pause is over let one job through."""
        while self._reopen and self._reopen[0][0] <= now:
            until, _, replica, model = heappop(self._reopen)
            breaker = replica.breakers.get(model)
            if breaker is not None and breaker.open_until == until:
                breaker.open_until, breaker.trial, breaker.outcomes = 0.0, True, []
                self.refresh(replica, now)

    def forgive(self, now: float) -> None:
        """Idle replicas that were slow long ago are tried again."""
        for pool in self.slow:
            for index in pool:
                for replica in list(index):
                    self.refresh(replica, now)

    # -- the indexes -----------------------------------------------------------------------------------------------------
    def refresh(self, replica: Replica, now: float) -> None:
        """Puts the replica where it belongs now."""
        for place in replica.places:
            del place[replica]
        a, free = replica.pool, replica.free
        self.free[a] += free - replica.counted
        places: list[dict[Replica, None]] = []
        if free:
            slow = self.slowness(replica, now) > self._parameters.slow_ratio
            for m in replica.loaded:
                breaker = replica.breakers.get(m)
                if breaker is None or not (breaker.trial or breaker.open_until):
                    places.append((self.slow if slow else self.warm)[a][m])
                elif breaker.trial and m not in replica.running.values():
                    places.append(self.trial[a][m])
            if replica.loads and not replica.running and not slow:
                places.append(self.cold[a].setdefault(replica.loaded, {}))
        for place in places:
            place[replica] = None
        replica.places, replica.counted = places, free

    def _hold(self, replica: Replica, models: Iterable[int], change: int) -> None:
        for m in models if replica.state == "up" else ():
            self.holding[replica.pool][m] += change
