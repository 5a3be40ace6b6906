"""Rules that hold for any sequence of events."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.fleet.policy.model import Start, Stop
from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.fleet.policy.scheduler import Scheduler
from tests.fleet.policy.fleets import BIG, SMALL, cheap, dear, fleet, job, scheduler

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "submit", "finish", "fail", "cancel", "lose", "drain", "wait"]),
        st.integers(0, 10**6),
    ),
    max_size=60,
)


class Driver:
    """A fleet and a crowd, played by drawn steps; it keeps its own book of every job."""

    def __init__(self) -> None:
        self.specs = (*dear(3, BIG), *cheap(3, SMALL))
        self.one = scheduler(*self.specs)
        self.now, self.number = 0.0, 0
        self.waiting: set[Any] = set()
        self.running: dict[tuple[Any, str], float] = {}
        self.ended: set[Any] = set()
        self.log: list[tuple[float, Any]] = []

    def step(self, kind: str, seed: int) -> None:
        draw = random.Random(seed)
        self.now += draw.choice([0.0, 1.0, 20.0, 200.0])
        match kind:
            case "submit":
                self._submit(draw)
            case "finish" | "fail" if self.running:
                self._end(draw, kind)
            case "cancel":
                self._cancel(draw)
            case "lose" | "drain":
                self._shrink(draw, kind)
            case _:
                pass
        self.one.tick(self.now)
        self.apply()

    def apply(self) -> None:
        for made in self.one.decide(self.now):
            self.log.append((self.now, made))
            match made:
                case Start(who, name):
                    if not made.hedge:
                        self.waiting.remove(who)
                    assert (who, name) not in self.running
                    self.running[who, name] = self.now
                    self.one.started(who, name, self.now)
                case Stop(who, name):
                    del self.running[who, name]
                    if made.reason == "superseded":
                        self.one.ended(who, name, self.now)
                    else:
                        self._failed(who, self.one.failed(who, name, self.now))
                case _:
                    self.one.loaded(made.replica, self.now)

    def check(self) -> None:
        state = self.one.state
        assert {state.queues.ids[row] for row in state.queues.rows()} == self.waiting
        assert {who for who, _ in self.running} == set(state.runs)
        assert not self.waiting & set(state.runs)
        assert self.waiting | set(state.runs) | self.ended == set(range(self.number))
        held = Counter(name for _, name in self.running)
        assert all(count <= state.slots.by_name[name].slots for name, count in held.items())
        assert state.ledger._ends.sum() + state.ledger._overrun.sum() == pytest.approx(len(self.running), abs=1e-6)
        waiting_s = sum(state.queues.seconds[row] for row in state.queues.rows())
        assert state.ledger._due.sum() + state.ledger._overdue.sum() == pytest.approx(waiting_s, abs=1e-6)
        assert sum(state.queues.backlog_s) == pytest.approx(waiting_s, abs=1e-6)
        assert sum(state.slots.free) == sum(replica.free for replica in state.slots.by_name.values())

    def _submit(self, draw: random.Random) -> None:
        tier, model = draw.choice(TIERS), draw.choice([BIG, SMALL, SMALL])
        within = draw.choice([None, 30.0, 60.0, 600.0, 5000.0])
        self.one.asked(f"o{draw.randint(0, 3)}", model, "480p", 5.0, tier, self.now)
        self.one.submit(
            job(self.number, model=model, tier=tier, organization=f"o{draw.randint(0, 3)}", at=self.now, within=within)
        )
        self.waiting.add(self.number)
        self.number += 1

    def _end(self, draw: random.Random, kind: str) -> None:
        who, name = draw.choice(sorted(self.running))
        del self.running[who, name]
        if kind == "fail":
            self._failed(who, self.one.failed(who, name, self.now, retry=draw.random() < 0.8))
            return
        self.one.finished(who, name, self.now)
        if who not in self.one.state.runs:
            self.ended.add(who)

    def _failed(self, who: Any, ending: str) -> None:
        if ending == "waits again":
            self.waiting.add(who)
        elif ending == "given up":
            self.ended.add(who)

    def _cancel(self, draw: random.Random) -> None:
        who = draw.randint(0, max(self.number - 1, 0))
        for name in self.one.cancel(who):
            del self.running[who, name]
            self.one.ended(who, name, self.now)
        if who < self.number:
            self.waiting.discard(who)
            self.ended.add(who)

    def _shrink(self, draw: random.Random, kind: str) -> None:
        spec = draw.choice(self.specs)
        if spec.name not in self.one.state.slots.by_name:
            self.one.replica_up(spec, self.now)
        elif kind == "drain":
            self.one.drain(spec.name, self.now)
        else:
            for who in self.one.replica_down(spec.name, self.now):
                del self.running[who, spec.name]
                if who in self.one.state.runs:
                    continue
                (self.waiting if self.one.state.queues.row_of(who) is not None else self.ended).add(who)


def starts(one: Scheduler, now: float) -> set[tuple[Any, str, str]]:
    """Which of several equal replicas it is does not matter."""
    return {(made.job, made.replica.partition("-")[0], made.load) for made in one.decide(now) if isinstance(made, Start)}


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_no_job_is_lost_or_run_twice_and_the_books_agree(steps: list[tuple[str, int]]) -> None:
    driver = Driver()
    for kind, seed in steps:
        driver.step(kind, seed)
        driver.check()


@settings(max_examples=8, deadline=None)
@given(STEPS)
def test_the_same_events_give_the_same_decisions(steps: list[tuple[str, int]]) -> None:
    logs: list[list[tuple[float, Any]]] = []
    for _ in range(2):
        driver = Driver()
        for kind, seed in steps:
            driver.step(kind, seed)
        logs.append(driver.log)
    assert logs[0] == logs[1]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.just("submit"), st.integers(0, 10**6)), min_size=1, max_size=12))
def test_a_restored_scheduler_decides_like_the_original(steps: list[tuple[str, int]]) -> None:
    driver = Driver()
    for kind, seed in steps:
        driver.step(kind, seed)
    assume(not driver.one.state.hedges)  # a new leader does not know of those, nor of failures before it
    assume(not any(isinstance(made, Stop) for _, made in driver.log))
    backlog, running = driver.one.snapshot()
    other = Scheduler(fleet(), 0.0, driver.one.state.parameters)
    for name, replica in driver.one.state.slots.by_name.items():
        spec = next(one for one in driver.specs if one.name == name)
        loaded = tuple(driver.one.state.fleet.models[m].name for m in sorted(replica.loaded))
        other.replica_up(type(spec)(name, spec.pool, spec.slots, loaded, spec.loads), driver.now)
    other.restore(backlog, running, driver.now, driver.one.remember())
    driver.one._fleet_changed = True  # plan again now, as the new leader has
    driver.one.tick(driver.now)
    for who, name in sorted(driver.running):
        driver.now += 30.0
        for one in (driver.one, other):
            one.finished(who, name, driver.now)
        assert starts(driver.one, driver.now) == starts(other, driver.now)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TIERS), st.floats(1.0, 30.0)), max_size=40), st.sampled_from(TIERS))
def test_more_work_never_makes_a_quote_earlier(asked: list[tuple[Any, float]], tier: Any) -> None:
    one = scheduler(*cheap(2, SMALL))
    before = 0.0
    for number, (kind, seconds) in enumerate(asked):
        quote = one.quote("o", SMALL, "480p", 5.0, tier, 0.0)
        start_s = float("inf") if quote.start_s is None else quote.start_s
        assert start_s >= before
        before = start_s
        mine = one.quote("o", SMALL, "480p", seconds, kind, 0.0)
        if mine.start_s is not None:
            one.submit(job(number, tier=kind, seconds=seconds, within=mine.start_s))


def test_a_promise_on_one_slot_is_kept_when_jobs_run_as_long_as_expected() -> None:
    one = scheduler(*cheap(1, SMALL))
    due: dict[object, float] = {}
    for number in range(20):
        quote = one.quote("o", SMALL, "480p", 5.0, "standard", 0.0)
        assert quote.start_s is not None
        one.submit(job(number, within=quote.start_s))
        due[number] = quote.start_s
        one.tick(0.0)
    now = 0.0
    for _ in range(20):
        ((made),) = one.decide(now)
        assert isinstance(made, Start)
        assert now <= due[made.job]
        one.started(made.job, made.replica, now)
        now += 50.0
        one.finished(made.job, made.replica, now)
    assert max(due.values()) < 1.4 * 20 * 50  # and it is not promised much later than need be


def test_nobody_is_kept_waiting_by_one_who_asks_for_too_much() -> None:
    """Start-time fair queueing: while both wait, what two organizations got differs by at most one job of each for every slot."""
    slots, weights = 4, Counter({"a": 0, "b": 0})
    one = scheduler(*cheap(slots, SMALL))
    number = 0
    for name, count in (("a", 200), ("b", 60)):
        for _ in range(count):
            one.submit(job(number, organization=name, within=50_000))
            number += 1
    owner = {n: "a" if n < 200 else "b" for n in range(number)}
    running: list[tuple[float, Any, str]] = []
    now, random_ = 0.0, np.random.default_rng(3)
    while weights["b"] < 60:
        for made in one.decide(now):
            assert isinstance(made, Start)
            one.started(made.job, made.replica, now)
            running.append((now + random_.uniform(30, 70), made.job, made.replica))
            weights[owner[int(str(made.job))]] += 1
        assert abs(weights["a"] - weights["b"]) <= 2 * slots or weights["b"] == 60
        running.sort()
        now, who, name = running.pop(0)
        one.finished(who, name, now)


def test_parameters_are_frozen() -> None:
    with pytest.raises(AttributeError):
        DEFAULT.fill = 1.0  # type: ignore[misc] # that is the point
