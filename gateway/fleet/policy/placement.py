"""Which models idle replicas should load before anybody waits for them."""

from gateway.fleet.policy.slots import Replica
from gateway.fleet.policy.state import State

_SLACK = 1.5
"""A model must lack this many slots, and another have as many too many, before one changes hands."""


def proposals(state: State) -> list[tuple[Replica, int, frozenset[int]]]:
    """(replica, model, models to unload): where the plan wants a slot more than there is, and another model has one too many."""
    found: list[tuple[Replica, int, frozenset[int]]] = []
    taken: set[Replica] = set()
    for a in range(len(state.fleet.pools)):
        holding = list(state.slots.holding[a])
        wanted = state.wanted[:, a].tolist()
        for m in sorted(range(len(wanted)), key=lambda m: (holding[m] - wanted[m], m))[: state.parameters.loads_max]:
            if holding[m] + _SLACK > wanted[m] or not state.fleet.runs(m, a):
                continue
            replica = _spare(state, a, m, holding, wanted, taken)
            if replica is not None:
                unload = state.slots.victims(replica, m)
                found.append((replica, m, unload))
                taken.add(replica)
                holding[m] += 1
                for one in unload:
                    holding[one] -= 1
    return found


def _spare(state: State, a: int, m: int, holding: list[int], wanted: list[float], taken: set[Replica]) -> Replica | None:
    for models in sorted(state.slots.cold[a], key=sorted):
        if m in models:
            continue
        for replica in state.slots.cold[a][models]:
            unload = state.slots.victims(replica, m)
            if replica not in taken and all(holding[one] - _SLACK >= wanted[one] for one in unload):
                return replica
            break
    return None
