"""Which waiting job takes which free slot: the production policy, one choice at a time.

Priority jobs go first. A job whose promise is near takes any chip that still makes it, the earliest promise first. Every other
job waits for a chip on which it costs at most a tenth more than on its best one; among those that may start, organizations within
their share come first, then small regret, then fairness.
"""

from math import inf
from typing import Protocol

from msgspec import Struct

from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.parameters import FLEX, PRIORITY, STANDARD, Parameters
from gateway.fleet.policy.quotes import LOAD_LATE
from gateway.fleet.policy.slots import Replica
from gateway.fleet.policy.state import State

_SURE_S = 10.0
"""A last look this long before it would be too late to load."""


_ELSEWHERE = 100.0
"""A job that failed on a pool takes any other first; but it does not wait for one, and nobody waits behind it."""


class Choice(Struct, frozen=True):
    """The next job of a flow on a replica; `unload` is None where the model is there already."""

    row: int
    replica: Replica
    unload: frozenset[int] | None = None


class Chooser(Protocol):
    def pick(self, state: State, now: float) -> Choice | None:
        """The next start, or None when nothing should start now."""
        ...


class RegretLimited:
    """The production policy; see the module."""

    def pick(self, state: State, now: float) -> Choice | None:
        free = [a for a, count in enumerate(state.slots.free) if count]
        if not free:
            return None
        return self._pick(state, (PRIORITY,), free, now) or self._pick(state, (STANDARD, FLEX), free, now)

    def _pick(self, state: State, tiers: tuple[int, ...], free: list[int], now: float) -> Choice | None:
        """The critical in the order of their promises, those of an organization ahead of its share last; the best of the others
        only if none of them can start.
        """
        critical: list[tuple[bool, float, int, int]] = []
        others: list[tuple[int, int, float]] = []
        queues, gates = state.queues, state.parameters.gate_s
        for c, m in enumerate(state.fleet.model_of):
            last_s = LOAD_LATE * state.fleet.models[m].load_s
            for tier in tiers:
                queue = c * TIER_COUNT + tier
                if queues.count[queue]:
                    urgent = queues.next_due(queue)
                    slack_s = queues.due[urgent] - now
                    if slack_s < gates[tier] or last_s <= slack_s < last_s + _SURE_S:
                        behind = ahead(state, urgent)
                        critical.append((behind, queues.due[urgent], queue, urgent))
                        if behind:  # nobody who is within their share waits for it
                            fair = queues.next_fair(queue)
                            if fair != urgent and not ahead(state, fair):
                                critical.append((False, queues.due[fair], queue, fair))
                    else:
                        others.append((queue, queues.next_fair(queue), slack_s))
        for _, due, queue, row in sorted(critical):
            found = self._candidate(state, queue, row, free, due - now, critical=due - now < gates[queue % TIER_COUNT])
            if found is not None:
                return found[1]
        best, least = None, (inf, inf, inf)
        for queue, row, slack_s in others:
            found = self._candidate(state, queue, row, free, slack_s, critical=False)
            if found is not None:
                tier = queue % TIER_COUNT
                behind = 1.0 if tier == FLEX or (tier == STANDARD and ahead(state, row)) else 0.0
                score = (behind, found[0], queues.tag[row])
                if score < least:
                    least, best = score, found[1]
        return best

    def _candidate(
        self, state: State, queue: int, row: int, free: list[int], slack_s: float, *, critical: bool
    ) -> tuple[float, Choice] | None:
        """The best slot for the next job of a queue, and how much too dear it is."""
        c, tier = divmod(queue, TIER_COUNT)
        regrets, best, least = state.plan.regret[c], None, inf
        failed_on = _failed_on(state, row)
        for a in free:
            option = self._option(state, row, (c, tier, a), regrets[a], slack_s, critical=critical)
            if option is not None:
                penalty = option[0] + (_ELSEWHERE if a in failed_on else 0.0)
                if penalty < least:
                    least, best = penalty, (penalty, option[1])
        return best

    def _option(
        self, state: State, row: int, cell: tuple[int, int, int], regret: float, slack_s: float, *, critical: bool
    ) -> tuple[float, Choice] | None:
        """How much too dear a slot of one pool is, and the replica to use; None if the job should not start there."""
        c, tier, a = cell
        p, slots, m = state.parameters, state.slots, state.fleet.model_of[c]
        if tier == FLEX and slots.flex[a] >= (1 - p.reserve) * slots.up[a]:
            return None
        if regret == inf:
            return None if state.timings.trusted(c, a) else _trial(state, row, cell)
        if regret > _bearable(p, tier, slack_s):
            return None
        step = regret // p.regret_step * p.regret_step
        may_try = critical or tier != PRIORITY
        for index in (slots.warm[a][m], slots.slow[a][m] if critical else {}, slots.trial[a][m] if may_try else {}):
            replica = _first(state, index, row)
            if replica is not None and (tier == PRIORITY or _unreserved(state, replica)):
                return step, Choice(row, replica)
        return self._swap(state, row, cell, step, slack_s, critical=critical)

    def _swap(
        self, state: State, row: int, cell: tuple[int, int, int], regret: float, slack_s: float, *, critical: bool
    ) -> tuple[float, Choice] | None:
        """Loading the model on an idle replica, if that is worth its time or a promise needs it."""
        c, tier, a = cell
        p, m = state.parameters, state.fleet.model_of[c]
        if not state.slots.cold[a] or state.fleet.models[m].memory_gib > state.fleet.pools[a].memory_gib:
            return None
        load_s, speed = state.fleet.models[m].load_s, state.timings.expected_s(c, a, 1.0)
        backlog_s = sum(state.queues.backlog_s[c * TIER_COUNT : (c + 1) * TIER_COUNT])
        gain_s = speed * min(backlog_s, 10 * state.queues.seconds[row])
        penalty = regret + load_s / gain_s
        if slack_s < LOAD_LATE * load_s:
            # Loading breaks the promise, so it is only for when no warm slot is free, nor will one be before the model is loaded.
            waiting = sum(state.queues.count[c * TIER_COUNT : c * TIER_COUNT + tier + 1])
            if state.warm(m) > (0 if tier == PRIORITY else state.keep[m]) or state.ending(m, max(slack_s, load_s)) > waiting * (
                1.0 if critical else p.surely
            ):
                return None
        elif not critical and (penalty > p.regret_max[tier] or speed * backlog_s < p.swap_gain * load_s):
            return (penalty, Choice(row, *found)) if (found := _unused(state, (c, tier, a))) else None
        replica = _victim(state, a, m, spare=tier == PRIORITY)
        return None if replica is None else (penalty, Choice(row, replica, state.slots.victims(replica, m)))


def _bearable(p: Parameters, tier: int, slack_s: float) -> float:
    """How much too dear a chip may be: a little while there is time, more and more as the promise nears, anything at the end."""
    urgency = 1.5 * (1.0 - slack_s / p.gate_s[tier])
    return p.regret_max[tier] if urgency <= 0 else inf if urgency >= 1 else p.regret_max[tier] + urgency * p.regret_critical


def _failed_on(state: State, row: int) -> set[int]:
    """Pools on which the job failed."""
    tried = state.tried.get(row)
    if not tried:
        return set()
    return {state.slots.by_name[name].pool for name in tried if name in state.slots.by_name}


def _first(state: State, index: dict[Replica, None], row: int) -> Replica | None:
    """The first replica on which the job has not failed; any, if it has failed on all there are in the pool."""
    tried = state.tried.get(row)
    if not tried:
        return next(iter(index), None)
    for replica in index:
        if replica.name not in tried:
            return replica
    for replica in index:
        if state.slots.up[replica.pool] <= sum(state.slots.by_name[name].slots for name in tried if name in state.slots.by_name):
            return replica
    return None


def ahead(state: State, row: int) -> bool:
    """Whether the job's organization has more waiting than a burst."""
    owner, p = state.by_index[state.queues.owner[row]], state.parameters
    return owner.waiting[PRIORITY] + owner.waiting[STANDARD] > max(p.burst * p.target_s[STANDARD], 3 * state.queues.work[row])


def _trial(state: State, row: int, cell: tuple[int, int, int]) -> tuple[float, Choice] | None:
    """A chip that nobody has timed yet gets flex jobs, a few at a time."""
    c, tier, a = cell
    m = state.fleet.model_of[c]
    known = state.timings.runs(c, a) + state.trials[c][a]
    if tier != FLEX or known >= state.parameters.trial_jobs or state.timings.base(c, a, 1.0) == inf:
        return None
    for replica in (*state.slots.warm[a][m], *state.slots.trial[a][m]):
        return 0.0, Choice(row, replica)
    replica = _victim(state, a, m, spare=False) if state.slots.cold[a] else None
    return None if replica is None else (0.0, Choice(row, replica, state.slots.victims(replica, m)))


def _unused(state: State, cell: tuple[int, int, int]) -> tuple[Replica, frozenset[int]] | None:
    """Where a model goes at once that no chip it may use now has or is loading: no job for it can start by waiting. A replica all
    of whose models that would go are wanted by no waiting job, and those models.
    """
    c, tier, a = cell
    m, most = state.fleet.model_of[c], state.parameters.regret_max[tier]
    if any(state.slots.holding[pool][m] for pool, regret in enumerate(state.plan.regret[c]) if regret <= most):
        return None
    replica = _victim(state, a, m, spare=False)
    unload = frozenset[int]() if replica is None else state.slots.victims(replica, m)
    return None if replica is None or any(_waits(state, one) for one in unload) else (replica, unload)


def _waits(state: State, m: int) -> bool:
    """Some job waits for the model."""
    count = state.queues.count
    return any(any(count[c * TIER_COUNT : (c + 1) * TIER_COUNT]) for c, one in enumerate(state.fleet.model_of) if one == m)


def _unreserved(state: State, replica: Replica) -> bool:
    """Taking a slot leaves enough for priority jobs of every model on it."""
    return all(not state.keep[m] or state.warm(m) - 1 >= state.keep[m] for m in replica.loaded)


def _victim(state: State, a: int, m: int, *, spare: bool) -> Replica | None:
    """An idle replica whose models are least wanted; `spare` may take what is kept for priority."""
    wanted, holding = state.wanted[:, a].tolist(), state.slots.holding[a]

    def need(models: frozenset[int]) -> float:
        return sum((wanted[one] + 0.1) / max(holding[one], 1) for one in models)

    for models in sorted(
        (one for one, idle in state.slots.cold[a].items() if idle and m not in one), key=lambda one: (need(one), sorted(one))
    ):
        for replica in state.slots.cold[a][models]:
            breaker = replica.breakers.get(m)
            if (spare or _unreserved(state, replica)) and (breaker is None or not breaker.open_until):
                return replica
            break
    return None
