"""The scheduler: told what happens and what time it is, it says what to start, stop and load, and what can be promised.

Deterministic: the same events at the same times give the same decisions. It reads no clock and does no I/O. `tick` does what is
not for every event (prices, the demand curve, stragglers) and is due a few times a second; all else costs well under a
millisecond.
"""

from collections.abc import Collection, Hashable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Literal

from gateway.fleet.policy import quotes
from gateway.fleet.policy.choose import Choice, Chooser, RegretLimited
from gateway.fleet.policy.curve import DemandCurve, publish
from gateway.fleet.policy.demand import TIER_COUNT
from gateway.fleet.policy.model import Decision, Fleet, Load, Queued, Quote, ReplicaSpec, Running, Start, Stop
from gateway.fleet.policy.parameters import DEFAULT, PRIORITY, TIERS, Parameters
from gateway.fleet.policy.placement import proposals
from gateway.fleet.policy.restore import Backlog, Memory, load, recall, remember, snapshot
from gateway.fleet.policy.state import Run, State
from gateway.video import Tier

Ending = Literal["waits again", "runs elsewhere", "given up"]


class Scheduler:
    """`chooser` is the policy; others than the default are for comparisons (gateway/simulator/baselines.py)."""

    def __init__(
        self,
        fleet: Fleet,
        now: float,
        parameters: Parameters = DEFAULT,
        *,
        chooser: Chooser | None = None,
        one_flow: bool = False,
    ) -> None:
        self.state = State(fleet, parameters, now, one_flow=one_flow)
        self._chooser: Chooser = chooser or RegretLimited()
        self._placing = chooser is None
        self._watch: list[tuple[float, int, Run]] = []
        self._watched = 0
        self._planned_at, self._drawn_at = -inf, -inf
        self._fleet_changed = True
        self._decisions: list[Decision] = []

    # -- time ------------------------------------------------------------------------------------------------------------
    def tick(self, now: float) -> None:
        """Makes anew what has become old: prices, the demand curve, breakers, stragglers, placement."""
        state, p = self.state, self.state.parameters
        state.slots.reopen(now)
        planned = self._fleet_changed or now - self._planned_at >= p.plan_s
        if planned:
            state.slots.forgive(now)
            state.replan(now, anew=self._fleet_changed)
            self._planned_at, self._fleet_changed = now, False
            if self._placing:
                self._place(now)
        if planned or now - self._drawn_at >= p.curve_s:
            state.redraw(now)
            self._drawn_at = now
        while self._watch and self._watch[0][0] <= now:
            self._look_at(heappop(self._watch)[2], now)

    # -- jobs come and go ------------------------------------------------------------------------------------------------
    def quote(self, organization: str, model: str, resolution: str, seconds: float, tier: Tier, now: float) -> Quote:
        """What can be promised; changes nothing. Raises KeyError for a model and resolution that the catalogue has no speed
        of.
        """
        c = self.state.fleet.class_index[model, resolution]
        return quotes.quote(self.state, self.state.organizations.get(organization), c, seconds, TIERS.index(tier), now)

    def asked(self, organization: str, model: str, resolution: str, seconds: float, tier: Tier, now: float) -> None:
        """Demand that prices and forecasts should know of; once for each request, also for one that is not admitted."""
        c = self.state.fleet.class_index[model, resolution]
        quotes.note_demand(self.state, self.state.organization(organization), c, TIERS.index(tier), seconds, now)

    def submit(self, queued: Queued, *, charged: bool = False) -> None:
        """A job was admitted; its organization's account is charged at once, unless that was done when it came the first time.
        Raises KeyError as `quote`, ValueError for a job that is here already.
        """
        if queued.job in self.state.runs or self.state.queues.row_of(queued.job) is not None:
            raise ValueError(f"{queued.job} was submitted before")
        state, tier = self.state, TIERS.index(queued.tier)
        c = state.fleet.class_index[queued.model, queued.resolution]
        owner = state.organization(queued.organization)
        work = state.plan.omega[c] * queued.seconds
        tag = max(state.virtual, owner.finish)
        if not charged:
            owner.finish = tag + work / owner.weight
        promised = queued.promised_at is not None
        due = queued.promised_at if queued.promised_at is not None else queued.submitted_at + state.parameters.target_s[tier]
        row = state.queues.add(
            queued.job, c * TIER_COUNT + tier, owner.index, queued.seconds, work, tag, due, queued.submitted_at, promised
        )
        if queued.tried:
            state.tried[row] = list(queued.tried)
        state.enter(row, 1)
        if state.plan.group[c] >= 0:
            state.ledger.take(state.plan.group[c], tier, due, work)

    def cancel(self, job: Hashable) -> tuple[str, ...]:
        """A job that waits is gone; for one that runs, the replicas on which it is to be stopped: report `ended` for each."""
        state = self.state
        row = state.queues.row_of(job)
        if row is not None:
            state.enter(row, -1)
            state.tried.pop(row, None)
            state.queues.remove(row)
            return ()
        runs = state.runs.get(job, [])
        for run in runs:
            run.stopping = True
        return tuple(run.replica.name for run in runs)

    # -- replicas come and go --------------------------------------------------------------------------------------------
    def replica_up(self, spec: ReplicaSpec, now: float) -> None:
        """A new replica, or one that is back. Raises KeyError for a pool or model that the catalogue does not have."""
        known = self.state.slots.by_name.get(spec.name)
        if known is not None:
            self.state.slots.set_state(known, "up", now)
        else:
            self.state.slots.add(spec, now)
        self._fleet_changed = True

    def replica_down(self, name: str, now: float) -> tuple[Hashable, ...]:
        """It is gone and forgotten; its jobs wait again (or run elsewhere still). Returns them."""
        replica = self.state.slots.by_name[name]
        lost = [run for run in replica.running if isinstance(run, Run)]
        jobs = tuple(self.state.queues.ids[run.row] for run in lost)
        for job in jobs:
            self.failed(job, name, now, blame=False)
        self.state.slots.remove(replica, now)
        self._fleet_changed = True
        return jobs

    def drain(self, name: str, now: float) -> None:
        """It gets no more jobs; what runs may end."""
        self._set_state(name, "draining", now)

    def cordon(self, name: str, now: float) -> None:
        """As drain, but it is expected back: `uncordon`."""
        self._set_state(name, "cordoned", now)

    def uncordon(self, name: str, now: float) -> None:
        self._set_state(name, "up", now)

    def loaded(self, name: str, now: float, *, ok: bool = True) -> None:
        """A model that placement asked for is there, or could not be loaded."""
        replica = self.state.slots.by_name.get(name)
        if replica is not None and replica.loading >= 0:
            self.state.slots.swapped(replica, loaded=ok, now=now)

    def found(self, name: str, models: Collection[str], now: float) -> None:
        """A replica has these models, beside the one that placement is loading there, whoever put them there."""
        replica = self.state.slots.by_name[name]
        held = frozenset(self.state.fleet.model_index[model] for model in models) - {replica.loading}
        if held != replica.loaded:
            self.state.slots.found(replica, held, now)
            self._fleet_changed = True

    # -- attempts --------------------------------------------------------------------------------------------------------
    def started(self, job: Hashable, name: str, now: float) -> None:
        """The model is loaded and generates."""
        run = self._run(job, name)
        run.started_at = run.advanced_at = now
        if run.load:
            self.loaded(name, now)
        self._watched += 1
        heappush(self._watch, (now + run.late_s, self._watched, run))

    def resume(self, running: Running) -> None:
        """A run that another leader began; its replica is here and has, or is loading, its model. Raises ValueError if it is
        not.
        """
        state, one = self.state, running.queued
        replica = state.slots.by_name.get(running.replica)
        if replica is None or replica.free <= 0:
            raise ValueError(f"{running.replica} has no slot for {one.job}: hand it back to the queue")
        self.submit(one, charged=True)
        row = state.queues.row_of(one.job)
        assert row is not None, "it was just submitted"
        state.enter(row, -1)
        state.queues.withdraw(row)
        run = state.begin(row, replica, running.placed_at, load_s=0.0)
        if running.started_at is not None:
            self.started(one.job, running.replica, running.started_at)
        else:
            run.advanced_at = running.placed_at

    def progressed(self, job: Hashable, name: str, fraction: float, now: float) -> None:
        run = self._run(job, name)
        if fraction > run.fraction:
            run.fraction, run.advanced_at = fraction, now

    def finished(self, job: Hashable, name: str, now: float) -> None:
        """The attempt made the video; any other attempt at the job is told to stop."""
        state, run = self.state, self._run(job, name)
        a, seconds = run.replica.pool, state.queues.seconds[run.row]
        actual_s = now - (run.started_at if run.started_at is not None else now)
        expected_s = state.timings.expected_s(run.c, a, seconds)
        state.slots.succeeded(run.replica, state.fleet.model_of[run.c])
        state.slots.timed(run.replica, state.timings.observe(run.c, a, seconds, actual_s), now)
        self._true_up(run, actual_s / expected_s if 0 < expected_s < inf else 1.0)
        state.end(run, now)
        others = state.runs.get(job, [])
        for other in others:
            other.stopping = True
            self._decisions.append(Stop(job, other.replica.name, "superseded"))
        if not others:
            state.forget(run.row)

    def failed(self, job: Hashable, name: str, now: float, *, blame: bool = True, retry: bool = True) -> Ending:
        """The attempt ended without a video. `blame`: it speaks against the model on this replica; `retry`: another may
        succeed.
        """
        state, run = self.state, self._run(job, name)
        if run.load and run.started_at is None:
            self.loaded(name, now, ok=False)
        state.end(run, now)
        if blame:
            state.slots.failed(run.replica, state.fleet.model_of[run.c], now)
        if job in state.runs:
            return "runs elsewhere"
        tried = state.tried.setdefault(run.row, [])
        if blame or not retry:
            tried.append(name)
        if run.stopping or not retry or len(tried) > state.parameters.retries_max:
            state.forget(run.row)
            return "given up"
        state.queues.put_back(run.row, job)
        state.enter(run.row, 1)
        return "waits again"

    def ended(self, job: Hashable, name: str, now: float) -> None:
        """The attempt was stopped because it was cancelled or superseded."""
        run = self._run(job, name)
        run.stopping = True
        self.failed(job, name, now, blame=False)

    # -- decisions -------------------------------------------------------------------------------------------------------
    def decide(self, now: float, limit: int = 256) -> list[Decision]:
        """What to do now; each is taken as done from here on. At most `limit` at once: call again while that many come."""
        made, self._decisions = self._decisions, []
        while len(made) < limit:
            choice = self._chooser.pick(self.state, now)
            if choice is None:
                break
            made.append(self._start(choice, now))
        return made

    def _start(self, choice: Choice, now: float) -> Start:
        state, row, replica = self.state, choice.row, choice.replica
        state.virtual = max(state.virtual, state.queues.tag[row])
        state.enter(row, -1)
        job = state.queues.take(row)
        state.starts += 1
        m = state.fleet.model_of[state.queues.queue[row] // TIER_COUNT]
        load_s = 0.0 if choice.unload is None else state.fleet.models[m].load_s
        state.begin(row, replica, now, load_s=load_s)
        if choice.unload is None:
            return Start(job, replica.name)
        state.slots.swap(replica, m, choice.unload, now)
        return Start(job, replica.name, self._names({m})[0], self._names(choice.unload))

    def _place(self, now: float) -> None:
        for replica, m, unload in proposals(self.state):
            self.state.slots.swap(replica, m, unload, now)
            self._decisions.append(Load(replica.name, self._names({m})[0], self._names(unload)))

    # -- other processes -------------------------------------------------------------------------------------------------
    def publish(self, epoch: int, now: float) -> DemandCurve:
        """The demand curve for API processes, which quote against it with a `Quoter`."""
        return publish(self.state, epoch, now)

    def remember(self) -> Memory:
        """What a next leader would have to learn again; to be kept somewhere from time to time."""
        return remember(self.state)

    def snapshot(self) -> tuple[Backlog, list[Running]]:
        """All jobs, for another scheduler; in production the rows of the database stand in for it."""
        return snapshot(self.state)

    def restore(self, backlog: Backlog, running: Sequence[Running], now: float, memory: Memory | None = None) -> None:
        """Fills a scheduler that has its replicas and no job yet. Raises KeyError for a model that the catalogue does not know,
        and ValueError for a run on a replica that is not there: such a job goes back to the queue first.
        """
        if memory is not None:
            recall(self.state, memory)
        load(self.state, backlog, now)
        for one in running:
            self.resume(one)
        self.tick(now)

    # -- attempts that take too long -------------------------------------------------------------------------------------
    def _look_at(self, run: Run, now: float) -> None:
        """First at its cautious run time, then as often as it must be given up or may be helped."""
        state, p = self.state, self.state.parameters
        job = state.queues.ids[run.row]
        if run.stopping or run not in state.runs.get(job, ()):
            return
        quiet_s = max(p.straggle_min_s, p.straggle_ratio * run.late_s * (0.1 if run.fraction else 1.0))
        if now - run.advanced_at >= quiet_s:
            self._decisions.append(Stop(job, run.replica.name, "straggler"))
            return
        self._watched += 1
        heappush(self._watch, (run.advanced_at + quiet_s, self._watched, run))
        if (
            run.tier == PRIORITY
            and not run.hedge
            and len(state.runs[job]) == 1
            and state.hedges + 1 <= p.hedge_share * state.starts
        ):
            self._hedge(job, run, now)

    def _hedge(self, job: Hashable, run: Run, now: float) -> None:
        """A second attempt on a warm slot of another replica that nobody needs now."""
        state, m = self.state, self.state.fleet.model_of[run.c]
        for a, pool in enumerate(state.slots.warm):
            for replica in pool[m]:
                if replica is not run.replica and state.timings.trusted(run.c, a) and state.warm(m) > state.keep[m]:
                    state.hedges += 1
                    state.begin(run.row, replica, now, load_s=0.0, hedge=True)
                    self._decisions.append(Start(job, replica.name, hedge=True))
                    return

    # -- small things ----------------------------------------------------------------------------------------------------
    def _run(self, job: Hashable, name: str) -> Run:
        """Raises KeyError for an attempt that is not under way."""
        for run in self.state.runs[job]:
            if run.replica.name == name:
                return run
        raise KeyError(name)

    def _set_state(self, name: str, new: Literal["up", "draining", "cordoned"], now: float) -> None:
        self.state.slots.set_state(self.state.slots.by_name[name], new, now)
        self._fleet_changed = True

    def _true_up(self, run: Run, ratio: float) -> None:
        """The account was charged an estimate; now the work is known."""
        owner = self.state.by_index[self.state.queues.owner[run.row]]
        owner.finish += self.state.queues.work[run.row] * (min(ratio, 3.0) - 1.0) / owner.weight

    def _names(self, models: frozenset[int] | set[int]) -> tuple[str, ...]:
        return tuple(self.state.fleet.models[m].name for m in sorted(models))
