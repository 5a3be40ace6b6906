"""Which job runs where: cheapest chip in time, priority first, nothing lost and nothing twice."""

import pytest

from gateway.fleet.policy.model import ReplicaSpec, Start, Stop
from gateway.fleet.policy.scheduler import Scheduler
from tests.fleet.policy.fleets import BIG, GUESS, SMALL, cheap, dear, job, scheduler


def starts(one: Scheduler, now: float) -> list[tuple[object, str]]:
    return [(made.job, made.replica) for made in one.decide(now) if isinstance(made, Start)]


def test_a_job_runs_where_it_is_cheapest() -> None:
    one = scheduler(*dear(2, SMALL), *cheap(2, SMALL))
    one.submit(job(1))
    assert starts(one, 0.0) == [(1, "cheap-0")]


def test_a_job_with_time_waits_for_its_cheap_chip_and_takes_any_other_when_its_promise_is_near() -> None:
    one = scheduler(*dear(1, SMALL), *cheap(1, SMALL))
    one.submit(job(1, within=600))
    one.submit(job(2, within=600))
    assert starts(one, 0.0) == [(1, "cheap-0")]
    assert starts(one, 300.0) == []
    assert starts(one, 500.0) == [(2, "dear-0")]


def test_priority_goes_first_whoever_came_first() -> None:
    one = scheduler(*cheap(1, SMALL))
    one.submit(job(1, tier="flex", within=60))
    one.submit(job(2, tier="standard", within=60))
    one.submit(job(3, tier="priority", within=60))
    assert starts(one, 0.0) == [(3, "cheap-0")]


def test_among_the_critical_the_earliest_promise_goes_first() -> None:
    one = scheduler(*cheap(1, SMALL))
    one.submit(job(1, within=140))
    one.submit(job(2, within=100, organization="p"))
    assert starts(one, 0.0) == [(2, "cheap-0")]


def test_no_work_waits_while_a_slot_that_may_take_it_is_free() -> None:
    one = scheduler(*cheap(3, SMALL))
    for number in range(5):
        one.submit(job(number))
    assert len(starts(one, 0.0)) == 3
    one.started(0, "cheap-0", 0.0)
    one.finished(0, "cheap-0", 50.0)
    assert len(starts(one, 50.0)) == 1


def test_organizations_take_turns() -> None:
    one = scheduler(*cheap(1, SMALL))
    for number in range(4):
        one.submit(job(number, organization="many", within=10_000))
    one.submit(job(9, organization="one", within=10_000))
    order: list[object] = []
    for now in range(0, 250, 50):
        ((started, name),) = starts(one, float(now))
        order.append(started)
        one.started(started, name, float(now))
        one.finished(started, name, now + 49.0)
    assert order[1] == 9


def test_a_model_is_loaded_where_a_promise_needs_it_and_a_slot_is_not_used_meanwhile() -> None:
    one = scheduler(*dear(1, SMALL))
    one.submit(job(1, model=BIG, within=80))
    (made,) = one.decide(0.0)
    assert made == Start(1, "dear-0", BIG, (SMALL,))
    one.submit(job(2, within=60, tier="priority"))
    assert one.decide(1.0) == []
    one.started(1, "dear-0", 60.0)
    one.finished(1, "dear-0", 160.0)
    assert one.decide(160.0) == [Start(2, "dear-0", SMALL, (BIG,))]


def test_a_failed_job_runs_elsewhere_and_ends_after_its_retries() -> None:
    one = scheduler(*dear(1, SMALL), *cheap(2, SMALL))
    one.submit(job(1, within=60))
    names: list[str] = []
    for now in (0.0, 100.0, 200.0):
        ((_, name),) = starts(one, now)
        names.append(name)
        one.started(1, name, now)
        ending = one.failed(1, name, now + 1)
        assert ending == ("given up" if len(names) == 3 else "waits again")
    assert names == ["cheap-0", "dear-0", "cheap-1"]
    assert len(set(names)) == 3
    assert starts(one, 300.0) == []


def test_what_can_never_succeed_is_not_tried_again() -> None:
    one = scheduler(*cheap(2, SMALL))
    one.submit(job(1))
    ((_, name),) = starts(one, 0.0)
    assert one.failed(1, name, 1.0, blame=False, retry=False) == "given up"
    assert starts(one, 2.0) == []


def test_a_lost_replica_gives_its_jobs_back() -> None:
    one = scheduler(*cheap(2, SMALL))
    one.submit(job(1))
    assert starts(one, 0.0) == [(1, "cheap-0")]
    assert one.replica_down("cheap-0", 5.0) == (1,)
    assert starts(one, 5.0) == [(1, "cheap-1")]


def test_a_drained_replica_ends_its_job_and_gets_no_other() -> None:
    one = scheduler(*cheap(1, SMALL))
    one.submit(job(1))
    one.submit(job(2))
    assert starts(one, 0.0) == [(1, "cheap-0")]
    one.drain("cheap-0", 1.0)
    one.started(1, "cheap-0", 1.0)
    one.finished(1, "cheap-0", 50.0)
    assert starts(one, 50.0) == []
    one.uncordon("cheap-0", 60.0)
    assert starts(one, 60.0) == [(2, "cheap-0")]


def test_cancelling() -> None:
    one = scheduler(*cheap(1, SMALL))
    for number in (1, 2, 3):
        one.submit(job(number))
    assert starts(one, 0.0) == [(1, "cheap-0")]
    assert one.cancel(2) == ()
    assert one.cancel(1) == ("cheap-0",)
    one.ended(1, "cheap-0", 2.0)
    assert starts(one, 2.0) == [(3, "cheap-0")]
    with pytest.raises(ValueError, match="submitted before"):
        one.submit(job(3))


def test_a_breaker_opens_and_lets_a_flex_job_try_first() -> None:
    one = scheduler(*cheap(1, SMALL))
    for number in range(3):
        one.submit(job(number, within=60))
        assert starts(one, number) == [(number, "cheap-0")]
        one.failed(number, "cheap-0", number + 0.5, retry=False)
    one.submit(job(10, within=600))
    one.submit(job(11, tier="priority", within=600))
    assert starts(one, 10.0) == []
    one.tick(40.0)
    assert starts(one, 40.0) == [(10, "cheap-0")]
    one.started(10, "cheap-0", 40.0)
    one.finished(10, "cheap-0", 90.0)
    assert starts(one, 90.0) == [(11, "cheap-0")]


def test_a_new_kind_of_chip_earns_trust_on_flex_jobs() -> None:
    one = scheduler(ReplicaSpec("new-0", "new", 1, (BIG,)), *dear(1, BIG), speeds=(GUESS,))
    one.submit(job(0, model=BIG, tier="priority", within=60))
    assert starts(one, 0.0) == [(0, "dear-0")]
    one.submit(job(-1, model=BIG, tier="priority", within=60))
    assert starts(one, 50.0) == []
    now = 100.0
    for number in range(1, 21):
        one.submit(job(number, model=BIG, tier="flex", at=now))
        assert starts(one, now) == [(number, "new-0")]
        one.started(number, "new-0", now)
        one.finished(number, "new-0", now + 30)
        now += 30
    one.tick(now)
    assert starts(one, now) == [(-1, "new-0")]


def test_an_attempt_that_hangs_is_stopped_and_tried_elsewhere() -> None:
    one = scheduler(*cheap(2, SMALL))
    one.submit(job(1, within=60))
    ((_, name),) = starts(one, 0.0)
    one.started(1, name, 0.0)
    one.progressed(1, name, 0.5, 20.0)
    one.tick(60.0)
    assert one.decide(60.0) == []
    one.tick(200.0)
    assert one.decide(200.0) == [Stop(1, name, "straggler")]
    one.failed(1, name, 201.0)
    ((_, other),) = starts(one, 201.0)
    assert other != name


def test_an_overdue_priority_job_is_helped_within_the_budget_and_the_loser_stopped() -> None:
    one = scheduler(*cheap(4, SMALL))
    for number in range(100, 220):
        one.submit(job(number))
        ((_, name),) = starts(one, 0.0)
        one.started(number, name, 0.0)
        one.finished(number, name, 50.0)
    one.submit(job(1, tier="priority", within=60))
    ((_, name),) = starts(one, 100.0)
    one.started(1, name, 100.0)
    one.tick(165.0)
    (hedge,) = one.decide(165.0)
    assert isinstance(hedge, Start)
    assert (hedge.job, hedge.hedge) == (1, True)
    assert hedge.replica != name
    one.started(1, hedge.replica, 165.0)
    one.finished(1, hedge.replica, 200.0)
    assert one.decide(200.0) == [Stop(1, name, "superseded")]
    one.ended(1, name, 201.0)
    assert one.state.runs == {}


def test_a_slow_replica_is_used_last() -> None:
    one = scheduler(*cheap(2, SMALL))
    now = 0.0
    for number in range(12):
        one.submit(job(number, at=now))
        for started, name in starts(one, now):
            one.started(started, name, now)
            one.finished(started, name, now + (150 if name == "cheap-0" else 50))
        now += 200
    one.submit(job(100, at=now))
    assert starts(one, now) == [(100, "cheap-1")]
    one.submit(job(101, at=now, within=600))
    assert starts(one, now) == []
    assert starts(one, now + 590) == [(101, "cheap-0")]


def test_a_replica_that_was_slow_long_ago_is_tried_again() -> None:
    one = scheduler(*cheap(2, SMALL))
    slow, usual = one.state.slots.by_name["cheap-0"], one.state.slots.by_name["cheap-1"]
    for now in (0.0, 1.0, 2.0):
        one.state.slots.timed(slow, 1.0, now)
        one.state.slots.timed(usual, 0.0, now)
    one.state.slots.refresh(slow, 2.0)
    one.submit(job(1, at=3.0, within=5_000))
    one.submit(job(2, at=3.0, within=5_000))
    assert starts(one, 3.0) == [(1, "cheap-1")]
    one.tick(2_000.0)
    assert starts(one, 2_000.0) == [(2, "cheap-0")]
