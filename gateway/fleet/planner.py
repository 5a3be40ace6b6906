"""Planner: the scheduler of one leadership, told of the live fleet and of real jobs; times are seconds of the database's clock.

What the scheduler cannot place yet, because no replica was ever up for it, is parked. A fleet with new kinds of replicas, or
another catalogue, needs new tables: the scheduler is made anew with what the old one knew. That walks the queue, and is rare.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
import structlog

from gateway.fleet import events
from gateway.fleet.chips import Chips
from gateway.fleet.policy.model import Decision, Queued, ReplicaSpec, Running, Start
from gateway.fleet.policy.parameters import Parameters
from gateway.fleet.policy.restore import jobs_of, part
from gateway.fleet.policy.scheduler import Scheduler
from gateway.fleet.policy.state import Run
from gateway.fleet.pools import Kind, price_of, tables
from gateway.fleet.replicas import Replica, Replicas

log = structlog.get_logger(__name__)

_AVOID_S = 1.0
"""How long a replica that refused a job is not asked again for that model."""
How = Literal["delivered", "failed", "blamed", "stopped"]


class Planner:
    """`clock` says what time it is; `replicas` is what the dispatcher knows of the fleet."""

    def __init__(self, chips: Chips, replicas: Replicas, parameters: Parameters, clock: Callable[[], float]) -> None:
        self._chips, self._replicas, self._parameters, self._clock = chips, replicas, parameters, clock
        self._scheduler: Scheduler | None = None
        self._parked: dict[Hashable, tuple[Queued, bool]] = {}
        self._coming: dict[str, Start] = {}
        self._ready: list[Start] = []
        self._stale = True

    # -- jobs ------------------------------------------------------------------------------------------------------------
    def submit(self, queued: Queued, *, charged: bool) -> None:
        """A job waits; `charged`: it has waited before."""
        scheduler = self._scheduler
        if scheduler is None or (queued.model, queued.resolution) not in scheduler.state.fleet.class_index:
            self._parked[queued.job] = (queued, charged)
        else:
            scheduler.submit(queued, charged=charged)

    def knows(self, job: Hashable) -> bool:
        if job in self._parked:
            return True
        state = None if self._scheduler is None else self._scheduler.state
        return state is not None and (job in state.runs or state.queues.row_of(job) is not None)

    def drop(self, job: Hashable) -> None:
        """It does not wait any more. One that runs is not concerned."""
        self._parked.pop(job, None)
        if self._scheduler is not None and job not in self._scheduler.state.runs:
            self._scheduler.cancel(job)

    # -- decisions -------------------------------------------------------------------------------------------------------
    def decide(self) -> list[Decision]:
        """What to do now. A start for which a model must be loaded comes again, without `load`, once that is there."""
        now = self._clock()
        if self._stale:
            self._rebuild(now)
        if self._scheduler is None:
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
        if run is None or self._scheduler is None:
            raise KeyError(start.job)
        fleet = self._scheduler.state.fleet
        return fleet.models[fleet.model_of[run.c]].name

    def refused(self, name: str, model: str, job: Hashable | None = None) -> None:
        """The replica cannot take this job, or load this model, at the moment: something else first."""
        scheduler, now = self._scheduler, self._clock()
        self._coming.pop(name, None)
        if scheduler is None or name not in scheduler.state.slots.by_name:
            return
        if job is not None and self._run(job, name) is not None:
            scheduler.failed(job, name, now, blame=False)
        scheduler.loaded(name, now, ok=False)
        scheduler.state.slots.shut(scheduler.state.slots.by_name[name], scheduler.state.fleet.model_index[model], _AVOID_S, now)

    def started(self, job: Hashable, name: str) -> None:
        if self._scheduler is not None and self._run(job, name) is not None:
            self._scheduler.started(job, name, self._clock())

    def progressed(self, job: Hashable, name: str, fraction: float) -> None:
        if self._scheduler is not None and self._run(job, name) is not None:
            self._scheduler.progressed(job, name, fraction, self._clock())

    def ended(self, job: Hashable, name: str, how: How) -> None:
        """The slot is free again, and the job forgotten: one that must run again comes again from the database."""
        if self._scheduler is None or self._run(job, name) is None:
            return
        now = self._clock()
        if how == "delivered":
            self._scheduler.finished(job, name, now)
        elif how == "stopped":
            self._scheduler.ended(job, name, now)
        else:
            self._scheduler.failed(job, name, now, blame=how == "blamed", retry=False)

    def withhold(self, key: object, name: str, model: str) -> None:
        """A slot that was given free is not to be used yet."""
        replica = None if self._scheduler is None else self._scheduler.state.slots.by_name.get(name)
        if self._scheduler is not None and replica is not None and replica.free:
            m = self._scheduler.state.fleet.model_index[model]
            self._scheduler.state.slots.occupy(replica, key, m, self._clock())

    def let_go(self, key: object, name: str) -> None:
        """Now it is."""
        replica = None if self._scheduler is None else self._scheduler.state.slots.by_name.get(name)
        if self._scheduler is not None and replica is not None and key in replica.running:
            self._scheduler.state.slots.vacate(replica, key, self._clock())

    # -- the fleet -------------------------------------------------------------------------------------------------------
    def told(self, event: events.FleetEvent) -> None:
        """An event of the live fleet."""
        scheduler, now = self._scheduler, self._clock()
        if scheduler is None or isinstance(event, events.Joined):
            self._stale = True
            return
        if event.name not in scheduler.state.slots.by_name:
            return  # never priced, or about to be added by the next tables
        match event:
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
                self._loaded(scheduler, name, model, now)
            case events.LoadFailed(name=name):
                self._load_failed(scheduler, name, now)
            case events.Unloaded(name=name):
                self._found(scheduler, name, now)
            case _:
                pass  # what was decided here, and breakers, which both keep by the same outcomes

    def reload(self, chips: Chips) -> None:
        """Another catalogue; what runs goes on."""
        self._chips, self._stale = chips, True

    def _loaded(self, scheduler: Scheduler, name: str, model: str, now: float) -> None:
        if scheduler.state.slots.by_name[name].loading == scheduler.state.fleet.model_index.get(model):
            scheduler.loaded(name, now)
        if name in self._coming and self._coming[name].load == model:
            start = self._coming.pop(name)
            self._ready.append(Start(start.job, name))
        self._found(scheduler, name, now)

    def _load_failed(self, scheduler: Scheduler, name: str, now: float) -> None:
        start = self._coming.pop(name, None)
        if start is not None and self._run(start.job, name) is not None:
            scheduler.failed(start.job, name, now, blame=True)
        scheduler.loaded(name, now, ok=False)
        self._found(scheduler, name, now)

    def _found(self, scheduler: Scheduler, name: str, now: float) -> None:
        live = self._replicas.by_name.get(name)
        if live is not None:
            known = scheduler.state.fleet.model_index
            scheduler.found(name, [model for model in live.loaded - live.unloading if model in known], now)

    # -- the tables ------------------------------------------------------------------------------------------------------
    def _rebuild(self, now: float) -> None:
        self._stale = False
        before = self._scheduler
        kinds = {replica.name: kind for replica in self._replicas.by_name.values() if (kind := self._kind(replica)) is not None}
        if not kinds:
            return
        made = Scheduler(tables(self._chips, sorted(set(kinds.values()), key=lambda kind: kind.name)), now, self._parameters)
        for name, kind in kinds.items():
            self._add(made, self._replicas.by_name[name], kind, now)
        self._scheduler = made
        made.tick(now)
        if before is not None:
            self._move(before, made, now)
        parked, self._parked = self._parked, {}
        for queued, charged in parked.values():
            self.submit(queued, charged=charged)
        log.info("fleet_tables", pools=[pool.name for pool in made.state.fleet.pools], waiting=len(made.state.queues))

    def _kind(self, replica: Replica) -> Kind | None:
        """None: it was never up, cannot be priced, or holds nothing that the catalogue has."""
        price = price_of(self._chips, replica.row.accelerator, replica.row.price_micro_usd_per_hour)
        known = {model.name for model in self._chips.models}
        models = tuple(sorted(model for model in replica.models if model in known))
        if replica.standing == "new" or not models:
            return None
        if price is None:
            log.error("replica_unpriced", replica=replica.name, accelerator=replica.row.accelerator)
            return None
        return Kind(replica.row.accelerator, price, models)

    def _add(self, made: Scheduler, replica: Replica, kind: Kind, now: float) -> None:
        loaded = (replica.loaded - replica.unloading | {replica.loading}) & set(kind.models)
        row = replica.row
        made.replica_up(ReplicaSpec(row.name, kind.name, row.slots, tuple(sorted(loaded)), row.loads, row.models_max), now)
        if replica.standing == "draining":
            made.drain(row.name, now)
        elif replica.standing != "up":
            made.cordon(row.name, now)

    def _move(self, before: Scheduler, made: Scheduler, now: float) -> None:
        """What waits and runs, from one scheduler to the next, in its order."""
        backlog, running = before.snapshot()
        known = np.array(
            [(model, resolution) in made.state.fleet.class_index for model, resolution, _ in backlog.kinds], dtype=bool
        )
        fits = known[backlog.kind]
        made.restore(part(backlog, fits), (), now, before.remember())
        for queued in jobs_of(part(backlog, ~fits)):
            self._parked[queued.job] = (queued, True)
        for one in running:
            self._resume(made, one)

    def _resume(self, made: Scheduler, one: Running) -> None:
        live = made.state.slots.by_name.get(one.replica)
        if live is None:
            return
        state, live.state = live.state, "up"  # what runs on a replica that is cordoned or drained goes on
        try:
            made.resume(one)
        except (KeyError, ValueError) as error:
            log.warning("run_not_counted", replica=one.replica, reason=str(error))
        finally:
            live.state = state
            made.state.slots.refresh(live, self._clock())

    def _run(self, job: Hashable, name: str) -> Run | None:
        runs: Sequence[Run] = () if self._scheduler is None else self._scheduler.state.runs.get(job, ())
        return next((run for run in runs if run.replica.name == name), None)
