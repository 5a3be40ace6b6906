"""What others do: simple policies for comparison. All share the scheduler's breakers, retries and bookkeeping."""

from collections.abc import Callable, Mapping
from math import inf

from gateway.fleet.policy.choose import Choice, Chooser
from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.slots import Replica
from gateway.fleet.policy.state import State

Rank = tuple[float, float]


class Greedy:
    """Starts whatever can start. `order` ranks queues by (tier, arrival of the next job), `pools` the chips; a queue that
    cannot start lets the others pass, unless `strict`. `only_best`: a job waits for the cheapest chip there is.
    """

    def __init__(
        self,
        order: Callable[[int, float], Rank],
        pools: Callable[[State, int, int], float],
        *,
        strict: bool = False,
        only_best: bool = False,
    ) -> None:
        self._order, self._pools, self._strict, self._only_best = order, pools, strict, only_best

    def pick(self, state: State, now: float) -> Choice | None:  # noqa: ARG002 - the protocol's
        if not any(state.slots.free):
            return None
        queues = state.queues
        waiting: list[tuple[Rank, int, int]] = []
        for queue, count in enumerate(queues.count):
            if count:
                row = queues.next_fair(queue)
                waiting.append((self._order(queue % TIER_COUNT, queues.submitted[row]), queue, row))
        for _, queue, row in sorted(waiting):
            found = self._place(state, queue // TIER_COUNT, row)
            if found is not None or self._strict:
                return found
        return None

    def _place(self, state: State, c: int, row: int) -> Choice | None:
        m, slots = state.fleet.model_of[c], state.slots
        fits = [a for a in range(len(slots.up)) if state.timings.base(c, a, 1.0) < inf and slots.up[a]]
        fits.sort(key=lambda a: (self._pools(state, c, a), a))
        for a in fits[:1] if self._only_best else fits:
            for index in (slots.warm[a][m], slots.slow[a][m], slots.trial[a][m]):
                for replica in index:
                    return Choice(row, replica)
        for a in fits[:1] if self._only_best else fits:
            idle = _idle(state, a, m)
            if idle is not None:
                return Choice(row, idle, slots.victims(idle, m))
        return None


def _idle(state: State, a: int, m: int) -> Replica | None:
    if state.fleet.models[m].memory_gib > state.fleet.pools[a].memory_gib:
        return None
    for models in sorted(state.slots.cold[a], key=sorted):
        for replica in state.slots.cold[a][models]:
            breaker = replica.breakers.get(m)
            if m not in models and (breaker is None or not breaker.open_until):
                return replica
    return None


def _cost(state: State, c: int, a: int) -> float:
    return state.timings.expected_s(c, a, 1.0) * state.fleet.price_per_s[a]


def _load(state: State, c: int, a: int) -> float:  # noqa: ARG001 - the protocol's
    return 1.0 - state.slots.free[a] / max(state.slots.up[a], 1)


BASELINES: Mapping[str, Callable[[], Chooser]] = {
    "strong": lambda: Greedy(lambda tier, at: (tier, at), _cost),
    "fifo": lambda: Greedy(lambda _, at: (0.0, at), _cost, strict=True),
    "fifo-model": lambda: Greedy(lambda _, at: (0.0, at), _cost),
    "least-loaded": lambda: Greedy(lambda tier, at: (tier, at), _load),
    "cheapest": lambda: Greedy(lambda tier, at: (tier, at), _cost, only_best=True),
}
"""strong: strict tiers, first come first served, the cheapest idle chip, warm ones first. fifo: first come first served over all,
the next job blocks. fifo-model: the same without blocking. least-loaded: strict tiers, the emptiest pool. cheapest: strict
tiers, each job waits for its cheapest chip."""
