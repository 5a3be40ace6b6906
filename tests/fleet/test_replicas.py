"""What a dispatcher knows of the fleet: breakers, what may be given to whom, swaps, and every change as an event."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet import events
from gateway.fleet.breaker import Breaker
from gateway.fleet.registry.model import ReplicaRow
from gateway.fleet.replicas import Replica, Replicas, Swap
from gateway.fleet.tally import Tally

MODELS = ("a", "b", "c")


def row(name: str = "r", **changes: Any) -> ReplicaRow:
    fields: dict[str, Any] = {
        "name": name, "url": "h:1", "models": ["a", "b"], "slots": 2, "accelerator": "h100", "price_micro_usd_per_hour": None,
        "loads": True, "models_max": 1, "labels": b"{}", "source": "api", "state": "active", "quarantine_reason": None,
        "quarantined_by": None, "quarantined_at": None, "version": 1, "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return ReplicaRow(**(fields | changes))


def fit(one: ReplicaRow) -> tuple[tuple[str, ...], str]:
    models = tuple(model for model in one.models if model in MODELS)
    return models, "" if models else "holds nothing that is known"


class Fleet:
    """Replicas and what they told."""

    def __init__(self, *rows: ReplicaRow) -> None:
        self.told: list[events.FleetEvent] = []
        self.replicas = Replicas(fit, pause_s=30.0, tell=self.told.append)
        self.replicas.follow(rows)

    def up(self, name: str, *loaded: str) -> Replica:
        replica = self.replicas.by_name[name]
        self.replicas.saw(replica, loaded)
        return replica

    def news(self) -> list[events.FleetEvent]:
        told, self.told[:] = list(self.told), []
        return told


# -- breaker -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "outcomes,state",
    [
        ("FF", "closed"),
        ("FFF", "open"),
        ("FFSS", "closed"),
        ("SSSFFF", "closed"),  # half is not more than half
        ("SSSFFFF", "open"),
        ("SSSSSSSSSSFFFFF", "closed"),
        ("SSSSSSSSSSFFFFFF", "open"),  # only the last ten count
    ],
)
def test_a_breaker_opens_at_three_failures_that_are_most_of_the_last_ten(outcomes: str, state: str) -> None:
    breaker = Breaker(30.0)
    for outcome in outcomes:
        breaker.succeeded() if outcome == "S" else breaker.failed(0.0)
    assert breaker.state(0.0) == state


def test_a_pause_doubles_up_to_twenty_times_and_one_success_ends_it() -> None:
    breaker, now, pauses = Breaker(30.0), 0.0, []
    for _ in range(3):
        breaker.failed(now)
    for _ in range(7):
        began = now
        while breaker.state(now) == "open":
            now += 1.0
        pauses.append(now - began)
        breaker.took(now)
        assert breaker.state(now) == "open"  # one at a time
        assert breaker.failed(now)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    breaker.took(now + 600)
    breaker.succeeded()
    assert breaker.state(now) == "closed"
    assert [breaker.failed(now) for _ in range(3)] == [False, False, True]
    assert breaker.state(now + 30) == "half-open"


def test_what_started_before_it_opened_decides_nothing() -> None:
    breaker = Breaker(30.0)
    for _ in range(3):
        breaker.failed(0.0)
    breaker.succeeded()
    assert not breaker.failed(1.0)
    assert (breaker.state(29.0), breaker.state(30.0)) == ("open", "half-open")
    breaker.took(30.0)
    breaker.neither()
    assert breaker.state(30.0) == "half-open"


# -- who may be given what ---------------------------------------------------------------------------------------------
def test_a_replica_joins_when_it_answers_and_is_given_what_it_has() -> None:
    fleet = Fleet(row())
    assert fleet.replicas.free(0.0) == {} and fleet.news() == []
    replica = fleet.up("r", "a", "unheard of")
    assert fleet.news() == [events.Joined("r", "h100", None, 2, ("a", "b"), ("a",), True, 1)]
    assert fleet.replicas.free(0.0) == {"a": 2}
    assert fleet.replicas.take("r", "a", 0.0) is replica
    assert fleet.replicas.free(0.0) == {"a": 1}
    with pytest.raises(LookupError):
        fleet.replicas.take("r", "b", 0.0)
    fleet.replicas.saw(replica, (), "gone")
    assert fleet.news() == [events.Cordoned("r", "gone")]
    assert fleet.replicas.free(0.0) == {}
    fleet.up("r", "b")
    assert fleet.news() == [events.Unloaded("r", "a"), events.Loaded("r", "b"), events.Uncordoned("r")]


@pytest.mark.parametrize(
    "changes,condition",
    [
        ({"state": "cordoned"}, "cordoned"),
        ({"state": "draining"}, "draining"),
        ({"quarantine_reason": "smells", "quarantined_by": "operator"}, "quarantined"),
        ({"models": ["z"]}, "cordoned"),
    ],
)
def test_nothing_is_given_to_a_replica_that_is_not_to_have_it_and_what_runs_goes_on(changes: Any, condition: str) -> None:
    fleet = Fleet(row())
    fleet.up("r", "a")
    replica = fleet.replicas.take("r", "a", 0.0)
    fleet.replicas.follow([row(version=2, **changes)])
    assert (fleet.replicas.free(0.0), replica.busy, replica.condition(0.0).condition) == ({}, 1, condition)
    assert replica.condition(0.0).reason
    fleet.replicas.follow([row(version=3)])
    assert fleet.replicas.free(0.0) == {"a": 1}


def test_a_replica_that_is_removed_leaves_when_it_is_idle() -> None:
    fleet = Fleet(row())
    fleet.up("r", "a")
    replica = fleet.replicas.take("r", "a", 0.0)
    fleet.news()
    fleet.replicas.follow([])
    assert fleet.news() == [events.Draining("r")]
    assert replica.condition(0.0).condition == "leaving"
    fleet.replicas.give_back(replica, "a")
    assert fleet.news() == [events.Left("r")] and fleet.replicas.by_name == {}


def test_another_server_under_the_same_name_waits_for_the_first_to_leave() -> None:
    fleet = Fleet(row())
    fleet.up("r", "a")
    first = fleet.replicas.take("r", "a", 0.0)
    moved = row(url="h:2", version=2)
    fleet.replicas.follow([moved])
    fleet.replicas.follow([moved])
    assert fleet.replicas.by_name["r"] is first and fleet.replicas.free(0.0) == {}
    fleet.replicas.give_back(first, "a")
    fleet.replicas.follow([moved])
    assert fleet.replicas.by_name["r"].row.url == "h:2"


def test_other_figures_change_a_replica_in_place() -> None:
    fleet = Fleet(row())
    fleet.up("r", "a")
    replica = fleet.replicas.take("r", "a", 0.0)
    fleet.news()
    fleet.replicas.follow([row(version=2, slots=5, price_micro_usd_per_hour=7)])
    assert fleet.news() == [events.Changed("r", "h100", 7, 5, ("a", "b"), ("a",), True, 1)]
    assert fleet.replicas.by_name["r"] is replica and fleet.replicas.free(0.0) == {"a": 4}


def test_no_more_slots_are_taken_than_there_are() -> None:
    fleet = Fleet(row("r1"), row("r2"))
    for name in ("r1", "r2"):
        fleet.up(name, "a")
    for _ in range(2):
        assert fleet.replicas.take("r1", "a", 0.0).name == "r1"
    with pytest.raises(LookupError):
        fleet.replicas.take("r1", "a", 0.0)
    assert fleet.replicas.take("r2", "a", 0.0).name == "r2"
    with pytest.raises(LookupError):
        fleet.replicas.take("r3", "a", 0.0)


def test_a_breaker_is_of_one_model_on_one_replica() -> None:
    fleet = Fleet(row("r1", models_max=2), row("r2"))
    bad, _ = fleet.up("r1", "a", "b"), fleet.up("r2", "a")
    fleet.news()
    for _ in range(3):
        fleet.replicas.failed(bad, "a", 10.0)
    assert fleet.news() == [events.BreakerOpened("r1", "a")]
    assert fleet.replicas.free(10.0) == {"a": 2, "b": 2}
    assert bad.condition(10.0).broken == ("a",)
    assert fleet.replicas.free(40.0) == {"a": 3, "b": 2}  # one is tried
    assert fleet.replicas.take("r1", "a", 40.0) is bad
    assert fleet.replicas.free(40.0) == {"a": 2, "b": 1}
    fleet.replicas.delivered(bad, "a")
    fleet.replicas.give_back(bad, "a")
    assert fleet.news() == [events.BreakerClosed("r1", "a")]
    assert fleet.replicas.free(40.0) == {"a": 4, "b": 2}


# -- placement ---------------------------------------------------------------------------------------------------------
def test_a_model_is_loaded_in_the_place_of_another() -> None:
    fleet = Fleet(row("r1"), row("r2", loads=False), row("r3", models=["a", "c"]))
    first, _, third = fleet.up("r1", "a"), fleet.up("r2", "a"), fleet.up("r3", "c")
    fleet.news()
    for name in ("r2", "r3", "r4"):  # one serves what it has, one is not to have it, one is not there
        with pytest.raises(LookupError):
            fleet.replicas.begin(name, "b", (), 0.0)
    assert fleet.replicas.begin("r1", "b", ("a",), 0.0) == Swap("r1", "b", ("a",))
    assert fleet.news() == [events.Unloading("r1", "a"), events.Loading("r1", "b")]
    with pytest.raises(LookupError):
        fleet.replicas.begin("r1", "b", (), 0.0)  # it is on its way
    assert fleet.replicas.free(0.0) == {"a": 2, "c": 2}  # what is being unloaded is not given
    fleet.replicas.unloaded(first, "a")
    fleet.replicas.swapped(first, "b", 1.0)
    assert fleet.news() == [events.Unloaded("r1", "a"), events.Loaded("r1", "b")]
    assert fleet.replicas.free(0.0) == {"a": 2, "b": 2, "c": 2}
    assert third.loaded == {"c"}


def test_a_model_in_use_is_not_unloaded() -> None:
    fleet = Fleet(row())
    replica = fleet.up("r", "a")
    fleet.replicas.take("r", "a", 0.0)
    with pytest.raises(LookupError):
        fleet.replicas.begin("r", "b", ("a",), 0.0)
    fleet.replicas.give_back(replica, "a")
    assert fleet.replicas.begin("r", "b", ("a",), 0.0) == Swap("r", "b", ("a",))


def test_a_load_that_keeps_failing_is_left_alone_for_a_while() -> None:
    fleet = Fleet(row())
    replica = fleet.up("r")
    for _ in range(3):
        swap = fleet.replicas.begin("r", "b", (), 0.0)
        fleet.replicas.swapped(replica, swap.load, 0.0, "no memory")
    with pytest.raises(LookupError):
        fleet.replicas.begin("r", "b", (), 29.0)
    assert fleet.replicas.begin("r", "b", (), 30.0).load == "b"
    assert events.LoadFailed("r", "b", "no memory") in fleet.told


# -- the tally ---------------------------------------------------------------------------------------------------------
def test_what_was_left_is_quiet_once_the_server_counts_it() -> None:
    tally = Tally()
    tally.counted(100)  # by others, before us
    tally.began()
    tally.began()
    tally.left()
    tally.counted(100)
    assert not tally.quiet
    tally.counted(101)
    assert tally.quiet
    tally.finished()
    tally.counted(102)
    tally.began()
    tally.left()
    tally.counted(0)  # another process now
    assert tally.quiet


@given(st.lists(st.sampled_from(["begin", "finish", "leave", "stop", "lose", "count"]), max_size=60))
def test_a_tally_is_quiet_exactly_when_nothing_left_runs(steps: list[str]) -> None:
    """Against a server that is told everything and has no other client."""
    tally, ended, mine, left = Tally(), 5, 0, 0
    tally.counted(ended)
    for step in [*steps, "count"]:
        match step:
            case "begin":
                tally.began()
                mine += 1
            case "finish" if mine:
                ended += 1
                tally.finished()
                mine -= 1
            case "leave" if mine:
                tally.left()
                mine, left = mine - 1, left + 1
            case "stop" if left:
                ended, left = ended + 1, left - 1
            case "count":
                tally.counted(ended)
                assert tally.quiet == (left == 0)
            case _:
                pass
