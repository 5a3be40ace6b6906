"""Where a waiting job stands: the jobs that compete for the same slots, in the order in which the policy looks at them.

The first ones by name; behind them, how many wait and when they are due, which is enough for an estimate. Which of two jobs
starts first depends on which chip comes free, too: this is the order if every slot suited them all.
"""

from collections.abc import Hashable, Iterator
from heapq import heappop, heappush
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.choose import ahead
from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.parameters import FLEX, PRIORITY, STANDARD
from gateway.fleet.policy.state import State

_Rank: TypeAlias = tuple[bool, bool, bool, float, int]
_HEADS = 32


class Outlook(Struct, frozen=True):
    """Of one group of pools. `heads`: the next jobs. `waiting`: how many wait, by tier. `due_share`: by tier, of the work that
    waits, the share that is due before each time of the curve.
    """

    heads: list[Any]
    waiting: list[int]
    due_share: list[list[float]]


def outlooks(state: State, points: list[int], now: float) -> list[Outlook]:
    """Of every group; `points` are those of the curve."""
    shares = state.ledger.due_shares(points)
    made: list[Outlook] = []
    for group in range(len(state.plan.load)):
        waiting = [0] * TIER_COUNT
        for c, g in enumerate(state.plan.group):
            if g == group:
                for tier in range(TIER_COUNT):
                    waiting[tier] += state.queues.count[c * TIER_COUNT + tier]
        made.append(Outlook(upcoming(state, group, now), waiting, shares[group].tolist()))
    return made


def upcoming(state: State, group: int, now: float, count: int = _HEADS) -> list[Hashable]:
    """The next jobs of a group. Looks at a bounded number of organizations, whatever the length of the queue."""
    queues = state.queues
    todo: list[tuple[_Rank, int, Iterator[int]]] = []
    for c, g in enumerate(state.plan.group):
        for queue in range(c * TIER_COUNT, (c + 1) * TIER_COUNT) if g == group else ():
            for row in queues.first(queue, count):
                heappush(todo, (_rank(state, row, now), row, queues.behind(row)))
    made: list[Hashable] = []
    while todo and len(made) < count:
        rank, row, rest = heappop(todo)
        made.append(queues.ids[row])
        after = next(rest, None)
        if after is not None:  # an organization's own jobs start in their order
            heappush(todo, (max(rank, _rank(state, after, now)), after, rest))
    return made


def place_of(outlook: Outlook, job: Hashable, tier: int, due: float, due_at: list[float]) -> int:
    """How many jobs start before this one, which waits; an estimate behind the heads."""
    if job in outlook.heads:
        return outlook.heads.index(job)
    share = float(np.interp(due, due_at, outlook.due_share[tier]))
    before = sum(outlook.waiting[:tier]) + outlook.waiting[tier] * share
    return max(round(before), _HEADS if len(outlook.heads) == _HEADS else 0)


def _rank(state: State, row: int, now: float) -> _Rank:
    """As `choose.RegretLimited` looks at them."""
    queues, queue = state.queues, state.queues.queue[row]
    tier = queue % TIER_COUNT
    critical = queues.due[row] - now < state.parameters.gate_s[tier]
    behind = ahead(state, row) if critical or tier == STANDARD else tier == FLEX
    return tier != PRIORITY, not critical, behind, queues.due[row] if critical else queues.tag[row], queue
