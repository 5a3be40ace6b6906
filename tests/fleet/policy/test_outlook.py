"""Where a waiting job stands: as it is published, and as it then really starts."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fleet.policy.curve import DemandCurve, place
from gateway.fleet.policy.model import Start
from gateway.fleet.policy.outlook import upcoming
from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.fleet.policy.scheduler import Scheduler
from tests.fleet.policy.fleets import BIG, SMALL, cheap, dear, job, scheduler

LONG_S = 100.0


def busy() -> Scheduler:
    """One slot, and a job that runs on it."""
    one = scheduler(*cheap(1, SMALL, loads=False))
    one.submit(job(-1))
    _begin(one, 0.0)
    return one


def _begin(one: Scheduler, now: float) -> list[Any]:
    begun = [made for made in one.decide(now) if isinstance(made, Start)]
    for start in begun:
        one.started(start.job, start.replica, now)
    return [start.job for start in begun]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TIERS), st.floats(1.0, 2_000.0)), min_size=1, max_size=25))
def test_jobs_start_in_the_order_that_was_published(asked: list[tuple[Any, float]]) -> None:
    """One after the other on one slot, each as it stood first when the slot came free; nobody has more than a burst waiting."""
    one, running = busy(), -1
    for number, (tier, within) in enumerate(asked):
        one.submit(job(number, tier=tier, organization=f"o{number % 9}", within=within))
    now, group = 0.0, one.state.plan.group[one.state.fleet.class_index[SMALL, "480p"]]
    for _ in asked:
        now += LONG_S
        one.tick(now)
        expected = upcoming(one.state, group, now)[0]
        one.finished(running, "cheap-0", now)
        begun = _begin(one, now)
        if not begun:  # a flex job may not take the last slot but by its promise
            assert {TIERS[one.state.queues.queue[row] % len(TIERS)] for row in one.state.queues.rows()} == {"flex"}
            return
        (running,) = begun
        assert running == expected


@pytest.mark.parametrize("count", [5, 500])
def test_a_place_in_a_long_queue_is_an_estimate_and_of_the_first_exact(count: int) -> None:
    one = busy()
    for number in range(count):
        one.submit(job(number, tier="standard", organization=f"o{number % 3}", at=float(number), within=600.0))
    one.submit(job(1_000, tier="priority"))
    one.tick(1.0)
    curve = msgspec.msgpack.decode(msgspec.msgpack.encode(one.publish(1, 1.0)), type=DemandCurve)

    def stands(number: int, tier: Any = "standard", at: float = 0.0) -> int | None:
        return place(curve, number, SMALL, "480p", tier, at + DEFAULT.target_s[TIERS.index(tier)])

    assert stands(1_000, "priority") == 0
    assert [stands(number, at=number) for number in range(5)] == [1, 2, 3, 4, 5]
    for number in range(40, count):
        assert stands(number, at=float(number)) == pytest.approx(number + 1, abs=20)
    assert stands(9_999, at=10_000.0) == count + 1  # nobody has told the leader of it yet
    assert place(curve, 0, SMALL, "1080p", "standard", 0.0) is None  # a class it has never heard of
    assert place(curve, 0, BIG, "480p", "standard", 0.0) is None  # no chip that runs it is up


def test_who_waits_for_other_slots_is_not_in_the_way() -> None:
    one = scheduler(*dear(1, BIG, loads=False), *cheap(1, SMALL, loads=False))
    for number in range(6):
        one.submit(job(number, model=BIG, tier="priority"))
    one.submit(job(7))
    one.submit(job(8))
    one.tick(0.0)
    curve = one.publish(1, 0.0)
    if one.state.plan.group[0] != one.state.plan.group[1]:
        assert place(curve, 8, SMALL, "480p", "standard", 600.0) == 1
    assert place(curve, 5, BIG, "480p", "priority", 60.0) == 5
