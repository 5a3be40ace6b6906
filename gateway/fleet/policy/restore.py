"""A new leader's beginning: the queue from its rows, column by column, what runs, and what the old leader had learnt."""

from collections.abc import Hashable, Iterator, Sequence
from math import isnan

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.demand import TIER_COUNT, Floats, Integers, Rates
from gateway.fleet.policy.model import Queued, Running
from gateway.fleet.policy.parameters import TIERS
from gateway.fleet.policy.queue import Flags
from gateway.fleet.policy.state import State


class Backlog(Struct):
    """The jobs that wait, a list for each column of `Queued`; `promised_at` nan: no promise. The order is that in which the
    jobs of one organization start: those that have run before and failed first, then as they were submitted.

    `kinds` and `organizations` hold what `kind` and `owner` count in: (model, resolution, tier) and names. `tag`, where each
    job's organization's account stood, is recomputed where it is not known.
    """

    jobs: Sequence[Hashable]
    kinds: Sequence[tuple[str, str, str]]
    kind: Integers
    organizations: Sequence[str]
    owner: Integers
    seconds: Floats
    submitted_at: Floats
    promised_at: Floats
    tried: dict[Hashable, tuple[str, ...]] = {}
    tag: Floats | None = None


class Memory(Struct, frozen=True):
    """What no row of the queue tells. Worth keeping over a restart, nothing breaks without it; JSON-ready.

    `born`: since when; `arrivals`: model → (priority jobs, as of). `accounts`: organization → (finish, work asked for by tier,
    as of). `cells`: (model, resolution, pool, runs, mean, variance), with an empty model for a whole pool. `rates`: for each
    horizon, (model, resolution, tier, amount, as of).
    """

    born: float
    virtual: float
    arrivals: dict[str, tuple[float, float]]
    accounts: dict[str, tuple[float, list[float], float]]
    cells: list[tuple[str, str, str, int, float, float]]
    rates: dict[str, list[tuple[str, str, str, float, float]]]
    mean_s: dict[str, float]


def remember(state: State) -> Memory:
    """To be kept somewhere from time to time."""
    fleet = state.fleet
    cells: list[tuple[str, str, str, int, float, float]] = []
    for a, pool in enumerate(fleet.pools):
        whole = state.timings.pools[a]
        cells.append(("", "", pool.name, whole.runs, whole.mu, whole.variance))
        for (model, resolution), c in fleet.class_index.items():
            cell = state.timings.cells[c][a]
            if cell.runs:
                cells.append((model, resolution, pool.name, cell.runs, cell.mu, cell.variance))
    return Memory(
        state.asked.born,
        state.virtual,
        {model: state.arrivals.get(m) for model, m in fleet.model_index.items()},
        {one.name: (one.finish, one.asked, one.asked_at) for one in state.by_index},
        cells,
        {name: _rates_out(state, rates) for name, rates in _horizons(state).items()},
        {pool.name: float(mean) for pool, mean in zip(fleet.pools, state.mean_s, strict=True)},
    )


def recall(state: State, memory: Memory) -> None:
    """Gives a fresh state what another had learnt, as far as its catalogue still knows the names."""
    fleet = state.fleet
    state.virtual = memory.virtual
    for name, (finish, asked, asked_at) in memory.accounts.items():
        one = state.organization(name)
        one.finish, one.asked, one.asked_at = finish, list(asked), asked_at
    for model, resolution, pool, runs, mu, variance in memory.cells:
        a, c = fleet.pool_index.get(pool), fleet.class_index.get((model, resolution))
        if a is not None and (c is not None or not model):
            state.timings.recall(c, a, runs, mu, variance)
    for name, rates in _horizons(state).items():
        for model, resolution, tier, amount, at in memory.rates.get(name, []):
            c = fleet.class_index.get((model, resolution))
            if c is not None:
                rates.put(c * TIER_COUNT + _tier(tier), amount, at)
    for model, (amount, at) in memory.arrivals.items():
        if model in fleet.model_index:
            state.arrivals.put(fleet.model_index[model], amount, at)
    for rates in (*_horizons(state).values(), state.arrivals):
        rates.born = memory.born
    for a, pool in enumerate(fleet.pools):
        state.mean_s[a] = memory.mean_s.get(pool.name, state.mean_s[a])


def load(state: State, backlog: Backlog, now: float) -> None:
    """Fills a state that has its replicas and no job yet. Raises KeyError for a model that the catalogue does not know."""
    if state.runs or len(state.queues):
        raise ValueError("jobs are restored into an empty scheduler")
    _load_queue(state, backlog)
    state.replan(now, anew=True)
    state.redraw(now)
    _weigh(state, backlog)


def snapshot(state: State) -> tuple[Backlog, list[Running]]:
    """What `restore` needs to make a scheduler that decides the same; in production the rows of the database stand in for it."""
    queues = state.queues
    rows = list(queues.rows())
    kinds = [(model, resolution, tier) for model, resolution in state.fleet.class_index for tier in TIERS]
    place = {
        state.fleet.class_index[model, resolution] * TIER_COUNT + _tier(tier): n
        for n, (model, resolution, tier) in enumerate(kinds)
    }
    backlog = Backlog(
        jobs=[queues.ids[row] for row in rows],
        kinds=kinds,
        kind=np.array([place[queues.queue[row]] for row in rows], dtype=np.int64),
        organizations=[one.name for one in state.by_index],
        owner=np.array([queues.owner[row] for row in rows], dtype=np.int64),
        seconds=np.array([queues.seconds[row] for row in rows], dtype=float),
        submitted_at=np.array([queues.submitted[row] for row in rows], dtype=float),
        promised_at=np.array([queues.due[row] if queues.promised[row] else np.nan for row in rows], dtype=float),
        tried={queues.ids[row]: tuple(names) for row, names in state.tried.items() if queues.row_of(queues.ids[row]) == row},
        tag=np.array([queues.tag[row] for row in rows], dtype=float),
    )
    return backlog, [state.describe(run) for runs in state.runs.values() for run in runs if not run.hedge]


def part(backlog: Backlog, keep: Flags) -> Backlog:
    """Only those jobs."""
    used = np.unique(backlog.kind[keep])
    kinds: list[int] = used.tolist()
    places: list[int] = np.flatnonzero(keep).tolist()
    return Backlog(
        jobs=[backlog.jobs[place] for place in places],
        kinds=[backlog.kinds[kind] for kind in kinds],
        kind=np.searchsorted(used, backlog.kind[keep]),
        organizations=backlog.organizations,
        owner=backlog.owner[keep],
        seconds=backlog.seconds[keep],
        submitted_at=backlog.submitted_at[keep],
        promised_at=backlog.promised_at[keep],
        tried=backlog.tried,
        tag=None if backlog.tag is None else backlog.tag[keep],
    )


def jobs_of(backlog: Backlog) -> Iterator[Queued]:
    """One by one, in their order."""
    for n, job in enumerate(backlog.jobs):
        model, resolution, tier = backlog.kinds[int(backlog.kind[n])]
        promised_at = float(backlog.promised_at[n])
        yield Queued(
            job,
            backlog.organizations[int(backlog.owner[n])],
            model,
            resolution,
            float(backlog.seconds[n]),
            TIERS[_tier(tier)],
            float(backlog.submitted_at[n]),
            None if isnan(promised_at) else promised_at,
            backlog.tried.get(job, ()),
        )


def _load_queue(state: State, backlog: Backlog) -> None:
    fleet = state.fleet
    queue_of = np.array(
        [fleet.class_index[model, resolution] * TIER_COUNT + _tier(tier) for model, resolution, tier in backlog.kinds] or [0]
    )
    owner_of = np.array([state.organization(name).index for name in backlog.organizations] or [0])
    queue, owner = queue_of[backlog.kind], owner_of[backlog.owner]
    promised = ~np.isnan(backlog.promised_at)
    due = np.where(promised, backlog.promised_at, backlog.submitted_at + np.array(state.parameters.target_s)[queue % TIER_COUNT])
    state.queues.load(backlog.jobs, queue, owner, backlog.seconds, due, backlog.submitted_at, promised)
    state.ledger.load(queue, due, backlog.seconds)
    for job, names in backlog.tried.items():
        row = state.queues.row_of(job)
        if row is not None:
            state.tried[row] = list(names)


def _weigh(state: State, backlog: Backlog) -> None:
    """Work, tags and accounts, once the first plan says what a second of video weighs."""
    queues = state.queues
    queue, owner = np.frombuffer(queues.queue, dtype=np.uint16), np.frombuffer(queues.owner, dtype=np.uint32).astype(np.int64)
    work = np.array(state.plan.omega)[queue // TIER_COUNT] * backlog.seconds
    waiting = np.bincount(owner * TIER_COUNT + queue % TIER_COUNT, work, len(state.by_index) * TIER_COUNT).reshape(-1, TIER_COUNT)
    weight = np.array([one.weight for one in state.by_index])
    share = work / weight[owner] if len(owner) else work
    order = np.argsort(owner, kind="stable")
    before = share[order].cumsum() - share[order]
    starts = np.searchsorted(owner[order], np.arange(len(state.by_index)))
    first = np.array([before[at] if at < len(before) else 0.0 for at in starts])
    tag = np.empty(len(work))
    tag[order] = state.virtual + before - first[owner[order]]
    queues.weigh(work, tag if backlog.tag is None else backlog.tag)
    for one, amounts in zip(state.by_index, waiting, strict=True):
        one.waiting = amounts.tolist()
        one.finish = max(one.finish, state.virtual + float(amounts.sum()) / one.weight) if backlog.tag is None else one.finish


def _horizons(state: State) -> dict[str, Rates]:
    return {"asked": state.asked, "forecast": state.forecast, "custom": state.custom}


def _rates_out(state: State, rates: Rates) -> list[tuple[str, str, str, float, float]]:
    made: list[tuple[str, str, str, float, float]] = []
    for (model, resolution), c in state.fleet.class_index.items():
        for t, tier in enumerate(TIERS):
            amount, at = rates.get(c * TIER_COUNT + t)
            if amount:
                made.append((model, resolution, tier, amount, at))
    return made


def _tier(name: str) -> int:
    return [*map(str, TIERS)].index(name)
