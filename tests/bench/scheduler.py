"""The scheduler at size: 10,000 slots and a million waiting jobs. Decisions, admissions, the tick, memory and a new leader's start,
once from rows in memory and once from PostgreSQL (`--only memory`, `--only failover`).

A decision is one job told to start after another has finished; an admission is a quote and the submission it leads to. Both include all
bookkeeping of the event. `cpu` figures are processor time: what the same would take on a core of its own. The garbage collector leaves
the restored queue alone (gc.freeze), as a leader should tell it to. The tick (prices, demand curve) is no part of them: the leader does it a few times a second between events.
"""

import gc
import resource
import time
from statistics import quantiles
from uuid import UUID

import numpy as np

from gateway.fleet.chips import load_chips
from gateway.fleet.policy.model import Decision, Fleet, Queued, ReplicaSpec, Start
from gateway.fleet.policy.parameters import TIERS
from gateway.fleet.policy.restore import Backlog
from gateway.fleet.policy.scheduler import Scheduler
from gateway.simulator.setup import DEFAULT_FLEET, read_fleet
from tests.bench import failover
from tests.bench.figures import figure

JOBS, SLOTS, ORGANIZATIONS = 1_000_000, 10_000, 20_000
EVENTS = 5_000


def run(runs: int, seconds: float, only: str) -> None:
    if only in ("", "failover"):
        failover.run(runs, JOBS, SLOTS)
    if only in ("", "memory"):
        _run_in_memory(runs)


def _run_in_memory(runs: int) -> None:
    taken: dict[str, list[Times]] = {"decision": [], "admission": [], "tick": []}
    leaders: Times = []
    memories: list[float] = []
    for number in range(runs):
        scheduler, took, megabytes = _leader(number)
        leaders.append(took)
        memories.append(megabytes)
        for name, times in _drive(scheduler, number).items():
            taken[name].append(times)
        del scheduler
        gc.unfreeze()
        gc.collect()
    figure("scheduler", "leader.ready", "s", [wall / 1000 for wall, _ in leaders], most=3.0)
    figure("scheduler", "leader.ready.cpu", "s", [cpu / 1000 for _, cpu in leaders])
    figure("scheduler", "queue.memory", "MB", memories[:1])  # later runs reuse what the first has freed
    for name in ("decision", "admission"):
        figure("scheduler", f"{name}.p50", "ms", [_percentile([wall for wall, _ in run], 50) for run in taken[name]])
        figure("scheduler", f"{name}.p99", "ms", [_percentile([wall for wall, _ in run], 99) for run in taken[name]], most=1.0)
        figure("scheduler", f"{name}.cpu.p99", "ms", [_percentile([cpu for _, cpu in run], 99) for run in taken[name]], most=1.0)
    figure("scheduler", "tick.cpu.max", "ms", [max(cpu for _, cpu in run) for run in taken["tick"]])


class Clock:
    """Wall and processor time of what it was started before, in milliseconds."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def read(self) -> tuple[float, float]:
        return (time.perf_counter() - self._wall) * 1000, (time.thread_time() - self._cpu) * 1000


Times = list[tuple[float, float]]


def _leader(seed: int) -> tuple[Scheduler, tuple[float, float], float]:
    """A new leader, from rows in memory to its first decision; milliseconds and megabytes."""
    fleet, replicas = _fleet()
    backlog = _backlog(fleet, seed)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = Clock()
    scheduler = Scheduler(fleet, 0.0)
    for spec in replicas:
        scheduler.replica_up(spec, 0.0)
    scheduler.restore(backlog, [], 0.0)
    first = scheduler.decide(0.0, limit=1)
    took = clock.read()
    assert first, "the new leader decides"
    gc.freeze()
    return scheduler, took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _fleet() -> tuple[Fleet, list[ReplicaSpec]]:
    """The default mix, 10,000 slots of it, each replica with one model."""
    fleet, some = read_fleet(DEFAULT_FLEET, load_chips(""))
    fits = [[m for m in range(len(fleet.models)) if fleet.runs(m, a)] for a in range(len(fleet.pools))]
    made: list[ReplicaSpec] = []
    for n in range(SLOTS):
        pool = some[n % len(some)].pool
        models = fits[fleet.pool_index[pool]]
        made.append(ReplicaSpec(f"{pool}-{n}", pool, 1, (fleet.models[models[n % len(models)]].name,)))
    return fleet, made


def _backlog(fleet: Fleet, seed: int) -> Backlog:
    random = np.random.default_rng(seed)
    kinds = [(model, resolution, tier) for model, resolution in fleet.class_index for tier in TIERS]
    return Backlog(
        jobs=[UUID(int=number) for number in range(JOBS)],
        kinds=kinds,
        kind=random.integers(0, len(kinds), JOBS),
        organizations=[f"org-{n}" for n in range(ORGANIZATIONS)],
        owner=np.minimum(random.zipf(1.2, JOBS), ORGANIZATIONS) - 1,
        seconds=random.choice([3.0, 5.0, 10.0], JOBS),
        submitted_at=np.sort(random.uniform(-3_600, 0, JOBS)),
        promised_at=random.uniform(0, 80_000, JOBS),
    )


def _drive(scheduler: Scheduler, seed: int) -> dict[str, Times]:
    """Every decision, admission and tick, with the fleet full and the queue long."""
    random, now = np.random.default_rng(seed), 1.0
    running: list[tuple[object, str]] = []

    def begin(made: list[Decision]) -> None:
        for one in made:
            if isinstance(one, Start):
                scheduler.started(one.job, one.replica, now)
                running.append((one.job, one.replica))

    while made := scheduler.decide(now, limit=1_000):
        begin(made)
    taken: dict[str, Times] = {"decision": [], "admission": [], "tick": []}
    classes = list(scheduler.state.fleet.class_index)
    for number in range(EVENTS):
        now += 0.01
        if number % 100 == 0:
            clock = Clock()
            scheduler.tick(now)
            taken["tick"].append(clock.read())
        place = int(random.integers(len(running)))
        running[place], running[-1] = running[-1], running[place]
        job, name = running.pop()
        clock = Clock()
        scheduler.finished(job, name, now)
        made = scheduler.decide(now)
        taken["decision"].append(clock.read())
        begin(made)
        asked = (f"org-{number % 300}", *classes[int(random.integers(len(classes)))], 5.0, TIERS[number % 3])
        clock = Clock()
        scheduler.asked(*asked, now)
        quote = scheduler.quote(*asked, now)
        within_s = 600.0 if quote.start_s is None else quote.start_s
        scheduler.submit(Queued(UUID(int=JOBS + number), *asked, submitted_at=now, promised_at=now + within_s))
        taken["admission"].append(clock.read())
    return taken


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]
