"""Planner: the scheduler of one leadership, told of the live fleet and of real jobs; times are seconds of the database's clock.

Its tables hold every kind of replica that the registry names. A job that no such replica can run is parked. A fleet with new
kinds, or another catalogue, needs new tables: the scheduler is made anew with what the old one knew. That walks the queue, and is
rare.
"""

from collections.abc import Callable, Hashable
from typing import Literal

import numpy as np
import structlog

from gateway.fleet import events
from gateway.fleet.chips import Chips
from gateway.fleet.policy.curve import DemandCurve
from gateway.fleet.policy.model import Decision, Queued, ReplicaSpec, Running, Start
from gateway.fleet.policy.parameters import Parameters
from gateway.fleet.policy.restore import Backlog, Memory, jobs_of, part, recall
from gateway.fleet.policy.scheduler import Scheduler
from gateway.fleet.policy.state import Run
from gateway.fleet.pools import Kind, kind_of, tables
from gateway.fleet.replicas import Replica, Replicas

log = structlog.get_logger(__name__)

How = Literal["delivered", "failed", "blamed", "stopped"]
_AVOID_S = 1.0
"""How long a replica that refused a job is not asked again for that model."""


class Planner:
    """`clock` says what time it is; `replicas` is what the dispatcher knows of the fleet."""

    def __init__(self, chips: Chips, replicas: Replicas, parameters: Parameters, clock: Callable[[], float]) -> None:
        self._chips, self._replicas, self._parameters, self._clock = chips, replicas, parameters, clock
        self._parked: dict[Hashable, tuple[Queued, bool]] = {}
        self._withheld: dict[Hashable, tuple[str, str]] = {}
        self._coming: dict[str, Start] = {}
        self._ready: list[Start] = []
        self._stale = False
        self._scheduler = self._made(clock())

    # -- jobs ------------------------------------------------------------------------------------------------------------
    def restore(self, backlog: Backlog, memory: Memory | None = None) -> None:
        """Jobs that wait, before any other one, and what an earlier leader had learnt."""
        if memory is not None:
            recall(self._scheduler.state, memory)
        self._load(self._scheduler, backlog, self._clock())

    def complete(self, backlog: Backlog) -> None:
        """The whole queue as it was a moment ago, where only a part of it was restored. A job in it that has started since is
        running, and the lease of one that has ended since will not be had.
        """
        self._rebuild(self._clock(), backlog)

    def submit(self, queued: Queued, *, again: bool = False) -> None:
        """A job waits; `again`: it was admitted and charged to its organization's account long ago."""
        scheduler = self._scheduler
        if (queued.model, queued.resolution) not in scheduler.state.fleet.class_index:
            self._parked[queued.job] = (queued, again)
            return
        if not again:
            scheduler.asked(queued.organization, queued.model, queued.resolution, queued.seconds, queued.tier, self._clock())
        scheduler.submit(queued, charged=again)

    def knows(self, job: Hashable) -> bool:
        state = self._scheduler.state
        return job in self._parked or job in state.runs or state.queues.row_of(job) is not None

    def drop(self, job: Hashable) -> None:
        """It does not wait any more. One that runs is not concerned."""
        self._parked.pop(job, None)
        if job not in self._scheduler.state.runs:
            self._scheduler.cancel(job)

    # -- decisions -------------------------------------------------------------------------------------------------------
    def decide(self) -> list[Decision]:
        """What to do now. A start for which a model must be loaded comes again, without `load`, once that is there."""
        now = self._clock()
        if self._stale:
            self._rebuild(now)
        if not self._scheduler.state.fleet.pools:
            return []
        self._scheduler.tick(now)
        ready, self._ready = self._ready, []
        made: list[Decision] = [start for start in ready if self._run(start.job, start.replica) is not None]
        for decision in self._scheduler.decide(now):
            if isinstance(decision, Start) and decision.load:
                self._coming[decision.replica] = decision
            made.append(decision)
        return made

    def model_of(self, start: Start) -> str:
        """Raises KeyError when it has ended."""
        run = self._run(start.job, start.replica)
        if run is None:
            raise KeyError(start.job)
        fleet = self._scheduler.state.fleet
        return fleet.models[fleet.model_of[run.c]].name

    def refused(self, name: str, model: str, job: Hashable | None = None) -> None:
        """The replica cannot take this job, or load this model, at the moment: something else first."""
        scheduler, now = self._scheduler, self._clock()
        self._coming.pop(name, None)
        replica = scheduler.state.slots.by_name.get(name)
        if replica is None:
            return
        if job is not None and self._run(job, name) is not None:
            scheduler.failed(job, name, now, blame=False)
        scheduler.loaded(name, now, ok=False)
        self._found(name, now)
        scheduler.state.slots.shut(replica, scheduler.state.fleet.model_index[model], _AVOID_S, now)

    def started(self, job: Hashable, name: str) -> None:
        if self._run(job, name) is not None:
            self._scheduler.started(job, name, self._clock())

    def progressed(self, job: Hashable, name: str, fraction: float) -> None:
        if self._run(job, name) is not None:
            self._scheduler.progressed(job, name, fraction, self._clock())

    def ended(self, job: Hashable, name: str, how: How) -> None:
        """The slot is free again, and the job forgotten: one that must run again comes again from the database."""
        self.let_go(job)
        if self._run(job, name) is None:
            return
        now = self._clock()
        if how == "delivered":
            self._scheduler.finished(job, name, now)
        elif how == "stopped":
            self._scheduler.ended(job, name, now)
        else:
            self._scheduler.failed(job, name, now, blame=how == "blamed", retry=False)

    def withhold(self, key: Hashable, name: str, model: str) -> None:
        """A slot that looks free is not: something is still at work there."""
        self._withheld[key] = (name, model)
        self._occupy(self._scheduler, key, self._clock())

    def let_go(self, key: Hashable) -> None:
        """Now it is."""
        name, _ = self._withheld.pop(key, ("", ""))
        replica = self._scheduler.state.slots.by_name.get(name)
        if replica is not None and key in replica.running:
            self._scheduler.state.slots.vacate(replica, key, self._clock())

    # -- for others ------------------------------------------------------------------------------------------------------
    def curve(self) -> DemandCurve | None:
        """What API processes may promise from; None where there is no fleet to speak of."""
        return self._scheduler.publish(0, self._clock()) if self._scheduler.state.fleet.pools else None

    def memory(self) -> Memory:
        """For the next leader."""
        return self._scheduler.remember()

    # -- the fleet -------------------------------------------------------------------------------------------------------
    def told(self, event: events.FleetEvent) -> None:
        """An event of the live fleet."""
        scheduler, now = self._scheduler, self._clock()
        match event:
            case events.Changed():
                self._stale = True
            case events.Joined(name=name):
                self._joined(name, now)
            case _ if event.name not in scheduler.state.slots.by_name:
                pass  # it will come with the next tables, as it then is
            case events.Cordoned(name=name):
                scheduler.cordon(name, now)
            case events.Uncordoned(name=name):
                scheduler.uncordon(name, now)
            case events.Draining(name=name):
                scheduler.drain(name, now)
            case events.Left(name=name):
                self._coming.pop(name, None)
                scheduler.replica_down(name, now)
            case events.Loaded(name=name, model=model):
                self._loaded(name, model, now)
            case events.LoadFailed(name=name):
                self._load_failed(name, now)
            case events.Unloaded(name=name):
                self._found(name, now)
            case _:
                pass  # what was decided here, and breakers, which both keep by the same outcomes

    def reload(self, chips: Chips) -> None:
        """The catalogue is another one: new tables at the next decision. What was promised stays promised."""
        self._chips, self._stale = chips, True

    def _joined(self, name: str, now: float) -> None:
        replica = self._replicas.by_name[name]
        kind = kind_of(self._chips, replica.row, replica.models)
        if kind is None or kind.name in self._scheduler.state.fleet.pool_index:
            self._add(self._scheduler, replica, now)
        else:
            self._stale = True

    def _loaded(self, name: str, model: str, now: float) -> None:
        state = self._scheduler.state
        if state.slots.by_name[name].loading == state.fleet.model_index.get(model):
            self._scheduler.loaded(name, now)
        if name in self._coming and self._coming[name].load == model:
            self._ready.append(Start(self._coming.pop(name).job, name))
        self._found(name, now)

    def _load_failed(self, name: str, now: float) -> None:
        start = self._coming.pop(name, None)
        if start is not None and self._run(start.job, name) is not None:
            self._scheduler.failed(start.job, name, now)
        self._scheduler.loaded(name, now, ok=False)
        self._found(name, now)

    def _found(self, name: str, now: float) -> None:
        live = self._replicas.by_name.get(name)
        if live is not None:
            known = self._scheduler.state.fleet.model_index
            self._scheduler.found(name, [model for model in live.loaded - live.unloading if model in known], now)

    # -- the tables ------------------------------------------------------------------------------------------------------
    def _made(self, now: float) -> Scheduler:
        """For the fleet as it is, without jobs."""
        kinds: dict[str, Kind] = {}
        for replica in self._replicas.by_name.values():
            if (kind := kind_of(self._chips, replica.row, replica.models)) is not None:
                kinds[kind.name] = kind
        made = Scheduler(tables(self._chips, [kinds[name] for name in sorted(kinds)]), now, self._parameters)
        for replica in self._replicas.by_name.values():
            if replica.standing != "new":
                self._add(made, replica, now)
        return made

    def _add(self, made: Scheduler, replica: Replica, now: float) -> None:
        row, kind = replica.row, kind_of(self._chips, replica.row, replica.models)
        if kind is None or row.name in made.state.slots.by_name:
            return
        loaded = (replica.loaded - replica.unloading | {replica.loading}) & set(kind.models)
        made.replica_up(ReplicaSpec(row.name, kind.name, row.slots, tuple(sorted(loaded)), row.loads, row.models_max), now)
        for key, (name, _) in self._withheld.items():
            if name == row.name:
                self._occupy(made, key, now)
        if replica.standing == "draining":
            made.drain(row.name, now)
        elif replica.standing != "up":
            made.cordon(row.name, now)

    def _occupy(self, scheduler: Scheduler, key: Hashable, now: float) -> None:
        name, model = self._withheld[key]
        replica = scheduler.state.slots.by_name.get(name)
        if replica is not None and replica.free:
            scheduler.state.slots.occupy(replica, key, scheduler.state.fleet.model_index[model], now)

    def _rebuild(self, now: float, whole: Backlog | None = None) -> None:
        self._stale = False
        before = self._scheduler
        backlog, running = before.snapshot()
        self._scheduler = made = self._made(now)
        recall(made.state, before.remember())
        self._load(made, backlog if whole is None else whole, now)
        if whole is not None:
            for one in running:
                self._parked.pop(one.queued.job, None)
                made.cancel(one.queued.job)
            for queued in jobs_of(backlog):
                if not self.knows(queued.job):
                    self.submit(queued, again=True)
        for one in running:
            if not self._resume(made, one, now) and one.started_at is None:  # its model will not be loaded there any more
                self._coming.pop(one.replica, None)
                self.submit(one.queued, again=True)
        parked, self._parked = self._parked, {}
        for queued, again in parked.values():
            self.submit(queued, again=again)
        log.info("fleet_tables", pools=[pool.name for pool in made.state.fleet.pools], waiting=len(made.state.queues))

    def _load(self, made: Scheduler, backlog: Backlog, now: float) -> None:
        known = made.state.fleet.class_index
        kinds = np.array([(model, resolution) in known for model, resolution, _ in backlog.kinds], dtype=bool)
        fits = kinds[backlog.kind]
        if known:
            made.restore(backlog if kinds.all() else part(backlog, fits), (), now)
        for queued in jobs_of(part(backlog, ~fits)):
            self._parked[queued.job] = (queued, True)

    def _resume(self, made: Scheduler, one: Running, now: float) -> bool:
        """What runs on a replica that is cordoned or drained goes on, too. False where the tables have no place for it."""
        live = made.state.slots.by_name.get(one.replica)
        if live is None:
            return False
        state, live.state = live.state, "up"
        try:
            made.resume(one)
        except (KeyError, ValueError) as error:
            log.warning("run_not_counted", replica=one.replica, reason=str(error))
            return False
        finally:
            live.state = state
            made.state.slots.refresh(live, now)
        return True

    def _run(self, job: Hashable, name: str) -> Run | None:
        return next((run for run in self._scheduler.state.runs.get(job, ()) if run.replica.name == name), None)
