"""All that the scheduler knows, and the bookkeeping that every event shares; the verbs are in scheduler.py."""

from collections.abc import Hashable
from math import ceil, inf

import numpy as np

from gateway.fleet.policy.demand import TIER_COUNT, Ledger, Rates
from gateway.fleet.policy.model import Fleet, Queued, Running
from gateway.fleet.policy.parameters import FLEX, TIERS, Parameters
from gateway.fleet.policy.prices import Plan, make_plan
from gateway.fleet.policy.queue import Organization, Queues
from gateway.fleet.policy.slots import Replica, Slots
from gateway.fleet.policy.timing import Timings

_FIRST_JOB_S = 5.0
_MEAN_ALPHA = 0.02
_FEW = 4
"""Of so many slots with a model, one may be kept free for priority jobs however few they are."""


class Run:
    """One attempt under way. `row` is its job in the queue's columns; `ends_at` where its slot stands in the ledger."""

    __slots__ = (
        "advanced_at", "c", "ends_at", "fraction", "hedge", "late_s", "load", "placed_at", "replica", "row", "started_at",
        "stopping", "tier",
    )  # fmt: skip

    def __init__(self, row: int, c: int, tier: int, replica: Replica, now: float) -> None:
        self.row, self.c, self.tier, self.replica, self.placed_at = row, c, tier, replica, now
        self.started_at: float | None = None
        self.ends_at, self.late_s, self.fraction, self.advanced_at = now, 0.0, 0.0, now
        self.load, self.hedge, self.stopping = False, False, False


class State:
    """`plan` and the demand curve are made by `replan` and `redraw`; in between, everything is kept up to date job by job."""

    def __init__(self, fleet: Fleet, parameters: Parameters, now: float, *, one_flow: bool = False) -> None:
        classes, pools = len(fleet.classes), len(fleet.pools)
        self.fleet, self.parameters, self.now = fleet, parameters, now
        self.timings = Timings(fleet, parameters)
        self.slots = Slots(fleet, parameters)
        self.queues = Queues(classes * TIER_COUNT, one_flow=one_flow)
        self.ledger = Ledger((classes, pools), parameters, now)
        self.organizations: dict[str, Organization] = {}
        self.by_index: list[Organization] = []
        self.virtual = 0.0
        self.weight_active = 1.0
        self.runs: dict[Hashable, list[Run]] = {}
        self.tried: dict[int, list[str]] = {}
        """Replicas on which a job failed, by row."""
        self.asked = Rates(classes * TIER_COUNT, parameters.demand_s, now)
        self.forecast = Rates(classes * TIER_COUNT, parameters.forecast_s, now)
        self.custom = Rates(classes * TIER_COUNT, parameters.custom_s, now)
        self.arrivals = Rates(len(fleet.models), parameters.forecast_s, now)
        """Priority jobs a second, by model."""
        self.usual = np.zeros((classes, TIER_COUNT))
        """(classes, tiers): the share of the slots a class can use that a tier and those above it held lately."""
        self.keep = [0] * len(fleet.models)
        """Warm slots of each model that are kept free for priority jobs."""
        self.reach, self.best, self.slots_of = [0.0] * classes, [0] * classes, np.ones(classes)
        """By class: units a second of all slots that it can use, its best pool, and how many slots it can use."""
        self.overlap = [[0.0] * classes for _ in range(classes)]
        """Of the slots that one class can use, the share that another can use too: `overlap[c][other]`, of the other's."""
        self.trials = [[0] * pools for _ in range(classes)]
        """Runs under way on chips that are not trusted yet."""
        self.mean_s = np.array([self._first_mean_s(a) for a in range(pools)])
        self.wanted = np.zeros((len(fleet.models), pools))
        """Slots that each model should have on each pool, with what is left over spread by the square root of it."""
        self.starts, self.hedges = 0, 0
        self.plan = Plan(
            [-1] * classes, [0.0] * classes, [-1] * pools, [0.0] * pools, [0.0] * pools, [[inf] * pools] * classes, [], []
        )

    def organization(self, name: str, weight: float = 1.0) -> Organization:
        found = self.organizations.get(name)
        if found is None:
            found = self.organizations[name] = Organization(len(self.by_index), name, weight)
            self.by_index.append(found)
        return found

    # -- jobs ------------------------------------------------------------------------------------------------------------
    def enter(self, row: int, sign: int) -> None:
        """A job begins (1) or ceases (-1) to wait."""
        queue = self.queues.queue[row]
        c, tier = divmod(queue, TIER_COUNT)
        self.ledger.add_due(tier, c, self.queues.due[row], sign * self.queues.seconds[row])
        owner = self.by_index[self.queues.owner[row]]
        owner.waiting[tier] = max(owner.waiting[tier] + sign * self.queues.work[row], 0.0)

    def begin(self, row: int, replica: Replica, now: float, *, load_s: float, hedge: bool = False) -> Run:
        """Takes a slot for a job that has left the queue."""
        c, tier = divmod(self.queues.queue[row], TIER_COUNT)
        run = Run(row, c, tier, replica, now)
        seconds = self.queues.seconds[row]
        ratio = self.slots.slowness(replica, now)
        expected_s = self.timings.expected_s(c, replica.pool, seconds) * ratio
        run.late_s = self.timings.late_s(c, replica.pool, seconds) * ratio
        run.ends_at, run.hedge, run.load = now + load_s + expected_s, hedge, load_s > 0
        self.slots.occupy(replica, run, self.fleet.model_of[c], now)
        self.slots.flex[replica.pool] += tier == FLEX
        self.trials[c][replica.pool] += 1
        self.ledger.add_end(replica.pool, run.ends_at, 1)
        self.mean_s[replica.pool] += _MEAN_ALPHA * (expected_s - self.mean_s[replica.pool])
        self.runs.setdefault(self.queues.ids[row], []).append(run)
        return run

    def end(self, run: Run, now: float) -> None:
        """Gives its slot free."""
        job = self.queues.ids[run.row]
        self.runs[job].remove(run)
        if not self.runs[job]:
            del self.runs[job]
        self.slots.flex[run.replica.pool] -= run.tier == FLEX
        self.trials[run.c][run.replica.pool] -= 1
        self.ledger.add_end(run.replica.pool, run.ends_at, -1)
        self.slots.vacate(run.replica, run, now)

    def describe(self, run: Run) -> Running:
        """A run as it is told to another scheduler."""
        queues, row = self.queues, run.row
        m, resolution = self.fleet.classes[run.c]
        queued = Queued(
            queues.ids[row],
            self.by_index[queues.owner[row]].name,
            self.fleet.models[m].name,
            resolution,
            queues.seconds[row],
            TIERS[run.tier],
            queues.submitted[row],
            queues.due[row] if queues.promised[row] else None,
            tuple(self.tried.get(row, ())),
        )
        return Running(queued, run.replica.name, run.placed_at, run.started_at)

    def forget(self, row: int) -> None:
        """The job has ended."""
        self.tried.pop(row, None)
        self.queues.release(row)

    # -- what is made anew from time to time -----------------------------------------------------------------------------
    def replan(self, now: float, *, anew: bool) -> None:
        """Prices, groups and wanted placement from what was asked lately and what waits; `anew`: the fleet is another one."""
        p, count = self.parameters, len(self.fleet.classes)
        backlog = np.array(self.queues.backlog_s).reshape(count, TIER_COUNT).sum(axis=1)
        demand = self.asked.read(now).reshape(count, TIER_COUNT).sum(axis=1) * p.demand_s + backlog
        seconds = self.timings.seconds()
        usable = self._usable()
        for c, m in enumerate(self.fleet.model_of):
            seconds[c, ~usable[m]] = inf
            for a in range(len(self.fleet.pools)):
                if not self.timings.trusted(c, a) and np.isfinite(seconds[c]).sum() > 1:
                    seconds[c, a] = inf
        self.plan = make_plan(
            seconds,
            demand,
            np.array(self.slots.up, dtype=float),
            np.array(self.fleet.price_per_s),
            list(self.fleet.model_of),
            p.demand_s,
            headroom=p.headroom,
            overflow=p.overflow,
            before=(np.array(self.plan.shadow), p.shadow_memory) if self.plan.load and not anew else None,
        )
        self._want()
        reach = np.isfinite(seconds) * np.array(self.slots.up, dtype=float)
        own = np.maximum(reach.sum(axis=1), 1.0)
        self.slots_of, self.best = own, [row.index(min(row)) for row in self.plan.regret]
        self.reach = (np.array(self.plan.omega) * (reach / np.where(np.isfinite(seconds), seconds, inf)).sum(axis=1)).tolist()
        self.overlap = ((np.isfinite(seconds).astype(float) @ reach.T) / own[None, :]).tolist()
        self.ledger.advance(now)
        self.ledger.reprice(self.plan.group, self.plan.omega, len(self.plan.load))
        active = [one.weight for one in self.by_index if sum(one.waiting) > 0 or now - one.asked_at < p.custom_s]
        self.weight_active = sum(active) or 1.0

    def redraw(self, now: float) -> None:
        """The demand curve, the usual rates and what is kept for priority."""
        plan, groups = self.plan, len(self.plan.load)
        soon, usual = self._by_group(self.forecast.read(now), groups), self._by_group(self.custom.read(now), groups)
        self.ledger.draw(now, self.slots.free, self.mean_s, np.array(plan.unit), plan.pool_group, soon, usual)
        run_s = np.array([speeds[place] for speeds, place in zip(self.fleet.speed, self.best, strict=True)])
        busy = self.custom.read(now).reshape(-1, TIER_COUNT).cumsum(axis=1) * np.where(np.isfinite(run_s), run_s, 0.0)[:, None]
        self.usual = np.array(self.overlap) @ busy / self.slots_of[:, None]
        self._reserve(now)

    def ending(self, model: int, within_s: float) -> float:
        """How many slots that have the model should end a run within this time."""
        return self._holders(model, [self.ledger.ending(a, within_s) for a in range(len(self.slots.up))])

    def _holders(self, model: int, slots: list[float]) -> float:
        """Of so many slots of each pool, those that have the model, on average."""
        return sum(
            count * min(held[model] / up, 1.0)
            for count, held, up in zip(slots, self.slots.holding, self.slots.up, strict=True)
            if up
        )

    def idle(self, c: int) -> bool:
        """A slot with the model is free where the class costs little more than on its best chip."""
        m, regrets = self.fleet.model_of[c], self.plan.regret[c]
        return any(pool[m] and regrets[a] <= max(self.parameters.regret_max) for a, pool in enumerate(self.slots.warm))

    def warm(self, model: int) -> int:
        """Free slots that have the model."""
        return sum(len(pool[model]) for pool in self.slots.warm)

    def _want(self) -> None:
        """Follows the plan slowly: a program's optimum jumps between placements that are nearly as good."""
        planned, up = np.array(self.plan.slots), np.array(self.slots.up, dtype=float)
        spare, roots = np.maximum(up - planned.sum(axis=0), 0.0), np.sqrt(planned)
        goal = planned + spare * roots / np.maximum(roots.sum(axis=0), 1e-9)
        self.wanted += (self.parameters.placement_memory if self.wanted.any() else 1.0) * (goal - self.wanted)

    def _reserve(self, now: float) -> None:
        p = self.parameters
        ends = [self.ledger.ending(a, p.reserve_s) for a in range(len(self.slots.up))]
        for m, rate in enumerate(self.arrivals.read(now).tolist()):
            mean = rate * p.reserve_s
            held = sum(pool[m] for pool in self.slots.holding)
            ending = self._holders(m, ends)
            wanted = mean - ending + p.reserve_sigma * (mean + ending) ** 0.5
            self.keep[m] = max(min(ceil(wanted), max(int(p.reserve * held), held >= _FEW)), 0) if mean > 1e-6 else 0

    def _by_group(
        self, rates: np.ndarray[tuple[int], np.dtype[np.float64]], groups: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Seconds of video a second by class and tier → work a second by group and tier."""
        made = np.zeros((groups, TIER_COUNT))
        table = rates.reshape(-1, TIER_COUNT)
        for c, g in enumerate(self.plan.group):
            if g >= 0:
                made[g] += table[c] * self.plan.omega[c]
        return made

    def _usable(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """(models, pools): some replica that is up has the model or can load it, and is not cut off from it."""
        usable = np.zeros((len(self.fleet.models), len(self.fleet.pools)), dtype=bool)
        for replica in self.slots.by_name.values():
            if replica.state != "up":
                continue
            cut = {m for m, breaker in replica.breakers.items() if breaker.open_until > 0}
            if replica.loads:
                column = usable[:, replica.pool]
                column |= np.array([m not in cut for m in range(len(self.fleet.models))])
            else:
                usable[list(replica.loaded - cut), replica.pool] = True
        return usable

    def _first_mean_s(self, a: int) -> float:
        """Before anything has run: the middle of what five seconds of video take."""
        times = sorted(self.timings.expected_s(c, a, _FIRST_JOB_S) for c in range(len(self.fleet.classes)))
        times = [one for one in times if one < inf]
        return times[len(times) // 2] if times else 1.0
