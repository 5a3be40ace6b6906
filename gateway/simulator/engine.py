"""The discrete-event loop: arrivals, ends, failures and events of the fleet, exact in time, drawn from one seed."""

from collections.abc import Hashable, Sequence
from heapq import heappop, heappush
from math import exp
from typing import Any

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.model import Load, Queued, Start, Stop
from gateway.fleet.policy.parameters import DEFAULT, Parameters
from gateway.fleet.policy.prices import make_plan
from gateway.fleet.policy.scheduler import Scheduler
from gateway.fleet.policy.timing import Timings
from gateway.simulator.baselines import BASELINES
from gateway.simulator.setup import Arrival, Event, Setup, preloaded

GATE = "+gate"
PRODUCTION = "tallylight"
POLICIES = (PRODUCTION, *BASELINES, *(name + GATE for name in BASELINES))
_DRAIN_S = 2 * 86_400.0
_LOAD_LOW, _LOAD_HIGH = 0.8, 1.3


class Record(Struct):
    """What became of one arrival; `quote_s` None: not admitted."""

    arrival: Arrival
    quote_s: float | None = None
    started_s: float | None = None
    finished_s: float | None = None
    cost_usd: float = 0.0
    attempts: int = 0


class Outcome(Struct):
    """All records, and what the fleet spent: `pool_busy_s` by pool, `wasted_usd` on attempts that made nothing,
    `loading_usd` on loading models for jobs (both are in the records' costs), `placement_usd` on loading them ahead of jobs (it
    is not).
    """

    records: list[Record]
    pool_busy_s: dict[str, float]
    wasted_usd: float = 0.0
    loading_usd: float = 0.0
    placement_usd: float = 0.0
    swaps: int = 0
    loads: int = 0
    hedges: int = 0
    ended_s: float = 0.0


class _Attempt(Struct, eq=False):
    job: int
    replica: str
    placed_s: float
    fails: bool
    gone: bool = False


def simulate(setup: Setup, policy: str, seed: int, parameters: Parameters = DEFAULT) -> Outcome:
    """Runs until every admitted job has ended, at most two days past the last arrival. Raises KeyError for an unknown policy."""
    return _Engine(setup, policy, seed, parameters).run()


class _Engine:
    def __init__(self, setup: Setup, policy: str, seed: int, parameters: Parameters) -> None:
        name = policy.removesuffix(GATE)
        production = policy == PRODUCTION
        self._setup, self._parameters = setup, parameters
        self._gated = production or policy.endswith(GATE)
        self._scheduler = Scheduler(
            setup.fleet, 0.0, parameters, chooser=None if production else BASELINES[name](), one_flow=not production
        )
        self._random = np.random.default_rng(seed)
        self._bias = np.exp(self._random.normal(0.0, setup.world.bias, (len(setup.fleet.classes), len(setup.fleet.pools))))
        self._slow = [1.0] * len(setup.fleet.pools)
        self._failing = [setup.world.failures] * len(setup.fleet.pools)
        self._specs = {one.name: one for one in preloaded(setup.fleet, setup.replicas, _mix(setup, parameters))}
        self._lost: dict[str, list[str]] = {}
        self._heap: list[tuple[float, int, str, Any]] = []
        self._pushed = 0
        self._attempts: dict[tuple[Hashable, str], _Attempt] = {}
        self._outcome = Outcome([Record(one) for one in setup.arrivals], dict.fromkeys(setup.fleet.pool_index, 0.0))

    def run(self) -> Outcome:
        for spec in self._specs.values():
            self._scheduler.replica_up(spec, 0.0)
        for number, arrival in enumerate(self._setup.arrivals):
            self._push(arrival.arrival_s, "arrive", number)
        for event in self._setup.events:
            self._push(event.at_s, "event", event)
        last_s = self._setup.arrivals[-1].arrival_s if self._setup.arrivals else 0.0
        self._push(0.0, "tick", None)
        now = 0.0
        while self._heap and now <= last_s + _DRAIN_S:
            now, _, kind, what = heappop(self._heap)
            if kind == "tick":
                self._tick(now, more=now < last_s)
            elif not self._happen(kind, what, now):
                continue
            self._apply(now)
            self._outcome.ended_s = now
        self._outcome.hedges = self._scheduler.state.hedges
        return self._outcome

    # -- what happens ----------------------------------------------------------------------------------------------------
    def _happen(self, kind: str, what: Any, now: float) -> bool:  # noqa: ANN401 - each kind has its own payload
        """False: it concerned an attempt that is over, and nothing changed."""
        if kind in ("start", "end") and what.gone:
            return False
        match kind:
            case "arrive":
                self._arrive(what, now)
            case "start":
                self._started(what, now)
            case "end":
                self._end(what, now)
            case "loaded":
                self._scheduler.loaded(what, now)
            case "event":
                self._befall(what, now)
            case _:
                raise AssertionError(kind)
        return True

    def _tick(self, now: float, *, more: bool) -> None:
        self._scheduler.tick(now)
        if more or len(self._scheduler.state.queues):
            self._push(now + self._parameters.curve_s, "tick", None)
        elif self._attempts:  # nobody waits or will come: what still runs needs a look now and then
            self._push(now + self._parameters.plan_s, "tick", None)

    def _arrive(self, number: int, now: float) -> None:
        record, one = self._outcome.records[number], self._setup.arrivals[number]
        asked = (one.organization, one.model, one.resolution, one.seconds, one.tier)
        self._scheduler.asked(*asked, now)
        promised_at = None
        if self._gated:
            quote = self._scheduler.quote(*asked, now)
            if quote.start_s is None:
                return
            record.quote_s, promised_at = quote.start_s, now + quote.start_s
        else:
            record.quote_s = float("inf")
        self._scheduler.submit(Queued(number, *asked, submitted_at=now, promised_at=promised_at))

    def _started(self, attempt: _Attempt, now: float) -> None:
        record = self._outcome.records[attempt.job]
        record.started_s = now if record.started_s is None else record.started_s
        self._scheduler.started(attempt.job, attempt.replica, now)

    def _end(self, attempt: _Attempt, now: float) -> None:
        self._account(attempt, now, wasted=attempt.fails)
        if attempt.fails:
            self._scheduler.failed(attempt.job, attempt.replica, now)
        else:
            record = self._outcome.records[attempt.job]
            record.finished_s = now if record.finished_s is None else record.finished_s
            self._scheduler.finished(attempt.job, attempt.replica, now)

    def _account(self, attempt: _Attempt, now: float, *, wasted: bool) -> None:
        attempt.gone = True
        del self._attempts[attempt.job, attempt.replica]
        pool = self._specs[attempt.replica].pool
        busy_s = now - attempt.placed_s
        cost = busy_s * self._setup.fleet.price_per_s[self._setup.fleet.pool_index[pool]]
        self._outcome.pool_busy_s[pool] += busy_s
        self._outcome.records[attempt.job].cost_usd += cost
        self._outcome.wasted_usd += cost if wasted else 0.0

    def _befall(self, event: Event, now: float) -> None:
        fleet = self._setup.fleet
        pools = range(len(fleet.pools)) if event.pool == "*" else [fleet.pool_index[event.pool]]
        here = [name for name, one in self._specs.items() if one.pool == event.pool]
        match event.event:
            case "slowdown":
                for a in pools:
                    self._slow[a] = event.value
            case "failures":
                for a in pools:
                    self._failing[a] = event.value
            case "join":
                for _ in range(int(event.value)):
                    self._join(event.pool, now)
            case "pool_loss" | "drain":
                up = [name for name in here if name not in self._lost.get(event.pool, [])]
                for name in up[: round(event.value * len(here))]:
                    self._lose(event.pool, name, now, drained=event.event == "drain")
            case "pool_back":
                back = self._lost.get(event.pool, [])
                for name in back[: round(event.value * len(here))]:
                    self._scheduler.replica_up(self._specs[name], now)
                self._lost[event.pool] = back[round(event.value * len(here)) :]

    def _join(self, pool: str, now: float) -> None:
        model = next(one.loaded for one in self._specs.values() if one.pool == pool)
        count = sum(one.pool == pool for one in self._specs.values())
        spec = next(one for one in self._specs.values() if one.pool == pool)
        name = f"{pool}-{count}"
        self._specs[name] = type(spec)(name, pool, spec.slots, model if not spec.loads else (), spec.loads)
        self._scheduler.replica_up(self._specs[name], now)

    def _lose(self, pool: str, name: str, now: float, *, drained: bool) -> None:
        self._lost.setdefault(pool, []).append(name)
        if drained:
            self._scheduler.drain(name, now)
            return
        for job in self._scheduler.replica_down(name, now):
            self._account(self._attempts[job, name], now, wasted=True)

    # -- what is decided -------------------------------------------------------------------------------------------------
    def _apply(self, now: float) -> None:
        for decision in self._scheduler.decide(now, limit=100_000):
            match decision:
                case Start():
                    self._begin(decision, now)
                case Stop(job, replica):
                    self._account(self._attempts[job, replica], now, wasted=True)
                    if decision.reason == "straggler":
                        self._scheduler.failed(job, replica, now)
                    else:
                        self._scheduler.ended(job, replica, now)
                case Load(replica, model):
                    self._outcome.loads += 1
                    load_s, pool = self._load_s(model), self._specs[replica].pool
                    self._outcome.placement_usd += load_s * self._setup.fleet.price_per_s[self._setup.fleet.pool_index[pool]]
                    self._outcome.pool_busy_s[pool] += load_s
                    self._push(now + load_s, "loaded", replica)

    def _begin(self, start: Start, now: float) -> None:
        assert isinstance(start.job, int), "jobs are numbers of arrivals"
        one, fleet = self._setup.arrivals[start.job], self._setup.fleet
        c, a = fleet.class_index[one.model, one.resolution], fleet.pool_index[self._specs[start.replica].pool]
        record = self._outcome.records[start.job]
        record.attempts += 1
        at = now + (self._load_s(start.load) if start.load else 0.0)
        self._outcome.swaps += bool(start.load)
        self._outcome.loading_usd += (at - now) * fleet.price_per_s[a]
        noise = exp(self._random.normal(0.0, self._setup.world.noise))
        run_s = (fleet.overhead[c][a] + fleet.speed[c][a] * one.seconds) * float(self._bias[c, a]) * noise * self._slow[a]
        fails = bool(self._random.random() < self._failing[a])
        if fails:
            run_s *= float(self._random.random())
        attempt = self._attempts[start.job, start.replica] = _Attempt(start.job, start.replica, now, fails)
        self._push(at, "start", attempt)
        self._push(at + run_s, "end", attempt)

    def _load_s(self, model: str) -> float:
        spec = self._setup.fleet.models[self._setup.fleet.model_index[model]]
        return spec.load_s * float(self._random.uniform(_LOAD_LOW, _LOAD_HIGH))

    def _push(self, at: float, kind: str, what: Any) -> None:  # noqa: ANN401 - each kind has its own payload
        self._pushed += 1
        heappush(self._heap, (at, self._pushed, kind, what))


def _mix(setup: Setup, parameters: Parameters) -> Sequence[Sequence[float]]:
    """Slots that each model should begin with, as if the whole trace were spread evenly."""
    fleet = setup.fleet
    demand, slots = np.zeros(len(fleet.classes)), np.zeros(len(fleet.pools))
    for one in setup.arrivals:
        demand[fleet.class_index[one.model, one.resolution]] += one.seconds
    for replica in setup.replicas:
        slots[fleet.pool_index[replica.pool]] += replica.slots
    span_s = max(setup.arrivals[-1].arrival_s, 1.0) if setup.arrivals else 1.0
    return make_plan(
        Timings(fleet, parameters).seconds(), demand, slots, np.array(fleet.price_per_s), list(fleet.model_of), span_s,
        headroom=parameters.headroom, overflow=parameters.overflow,
    ).slots  # fmt: skip
