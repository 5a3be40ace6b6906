"""The planner between a live fleet and the scheduler: whatever joins, leaves and changes, no job is lost or started twice."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from gateway.fleet.chips import Chips, load_chips
from gateway.fleet.planner import Planner
from gateway.fleet.policy.model import Decision, Load, Queued, Start
from gateway.fleet.policy.parameters import DEFAULT
from gateway.fleet.policy.restore import Backlog
from gateway.fleet.pools import fit
from gateway.fleet.registry.model import ReplicaRow
from gateway.fleet.replicas import Replicas

CHIPS = load_chips("")
MODELS = ("wan2.2-ti2v-5b", "wan2.1-t2v-1.3b")


def row(name: str, **changes: Any) -> ReplicaRow:
    fields: dict[str, Any] = {
        "name": name, "url": "h:1", "models": list(MODELS), "slots": 1, "accelerator": "h100",
        "price_micro_usd_per_hour": None, "loads": False, "models_max": 2, "labels": b"{}", "source": "api", "state": "active",
        "quarantine_reason": None, "quarantined_by": None, "quarantined_at": None, "version": 1,
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return ReplicaRow(**(fields | changes))


class Cell:
    """A live fleet and its planner, on a clock that stands still until it is moved."""

    def __init__(self, *rows: ReplicaRow, chips: Chips = CHIPS) -> None:
        self.now, self.chips = 1_000.0, chips
        self.replicas = Replicas(lambda one: fit(self.chips, one), pause_s=30.0, tell=self._told)
        self.planner: Planner | None = None
        self.replicas.follow(rows)
        self.planner = Planner(chips, self.replicas, DEFAULT, lambda: self.now)

    def _told(self, event: Any) -> None:
        if self.planner is not None:
            self.planner.told(event)

    @property
    def plan(self) -> Planner:
        assert self.planner is not None
        return self.planner

    def up(self, *names: str, loaded: tuple[str, ...] = MODELS) -> None:
        for name in names:
            self.replicas.saw(self.replicas.by_name[name], loaded)

    def submit(self, job: str, *, model: str = MODELS[0], tier: Any = "standard", tried: tuple[str, ...] = ()) -> None:
        self.plan.submit(Queued(job, "acme", model, "720p", 5.0, tier, self.now, None, tried), again=bool(tried))

    def starts(self) -> list[tuple[object, str]]:
        """What is told to start now; each has its slot and runs."""
        made = [one for one in self.plan.decide() if isinstance(one, Start) and not one.load]
        for one in made:
            self.plan.started(one.job, one.replica)
        return [(one.job, one.replica) for one in made]


def test_jobs_start_by_tier_and_then_by_age() -> None:
    cell = Cell(row("r"))
    cell.up("r")
    for job, tier in (("flex", "flex"), ("first", "standard"), ("second", "standard"), ("urgent", "priority")):
        cell.submit(job, tier=tier)
    order: list[object] = []
    while begun := cell.starts():
        ((job, _),) = begun
        order.append(job)
        cell.now += 60.0
        cell.plan.ended(job, "r", "delivered")
    assert order == ["urgent", "first", "second", "flex"]


def test_a_job_of_a_model_that_nobody_has_waits_until_somebody_does() -> None:
    cell = Cell(row("r", models=MODELS[:1]))
    cell.up("r", loaded=MODELS[:1])
    cell.submit("other", model=MODELS[1])
    assert cell.starts() == [] and cell.plan.knows("other")
    cell.replicas.follow([row("r", models=MODELS[:1]), row("s", models=MODELS[1:])])
    assert cell.starts() == []
    cell.up("s", loaded=MODELS[1:])
    assert cell.starts() == [("other", "s")]


def test_a_job_that_failed_goes_elsewhere_and_comes_back_when_there_is_nothing_else() -> None:
    cell = Cell(row("r"), row("s"))
    cell.up("r", "s")
    cell.submit("job")
    ((_, first),) = cell.starts()
    cell.plan.ended("job", first, "blamed")
    assert not cell.plan.knows("job")  # the database says whether it waits again
    cell.submit("job", tried=(first,))
    ((_, second),) = cell.starts()
    assert {first, second} == {"r", "s"}
    cell.plan.ended("job", second, "failed")
    cell.submit("job", tried=(first, second))
    assert len(cell.starts()) == 1


def test_new_kinds_and_other_figures_lose_nothing_that_waits_or_runs() -> None:
    cell = Cell(row("r"))
    cell.up("r")
    for job in ("running", "waiting", "last"):
        cell.submit(job)
    assert cell.starts() == [("running", "r")]
    cell.replicas.follow([row("r", slots=2, version=2), row("s", accelerator="rtx4090", price_micro_usd_per_hour=1)])
    cell.up("s")
    assert cell.starts() == [("waiting", "s")]  # so much cheaper that the last one waits for it
    assert all(cell.plan.knows(job) for job in ("running", "waiting", "last"))
    cell.plan.ended("running", "r", "delivered")
    assert not cell.plan.knows("running")


def without(chips: Chips, *models: str) -> Chips:
    return Chips(
        tuple(one for one in chips.models if one.name not in models),
        chips.accelerators,
        tuple(one for one in chips.speeds if one.model not in models),
    )


def test_another_catalogue_drops_nothing_and_cordons_what_no_longer_fits() -> None:
    cell = Cell(row("r", models=MODELS[:1]), row("s", models=MODELS[1:], loads=True))
    cell.up("r", loaded=MODELS[:1])
    cell.up("s", loaded=())
    for job, model in (("running", MODELS[0]), ("waiting", MODELS[0]), ("loading", MODELS[1])):
        cell.submit(job, model=model)
    assert cell.starts() == [("running", "r")]
    cell.replicas.begin("s", MODELS[1], (), cell.now)
    cell.chips = without(CHIPS, MODELS[1])
    cell.plan.reload(cell.chips)
    cell.replicas.refit()
    assert cell.replicas.by_name["s"].condition(cell.now).reason == f"the catalogue has no model {MODELS[1]}"
    assert cell.starts() == []
    assert all(cell.plan.knows(job) for job in ("running", "waiting", "loading"))
    cell.replicas.swapped(cell.replicas.by_name["s"], MODELS[1], cell.now)  # too late: nobody wants it there now
    assert cell.starts() == []
    cell.plan.ended("running", "r", "delivered")
    assert cell.starts() == [("waiting", "r")]
    cell.chips = CHIPS
    cell.plan.reload(CHIPS)
    cell.replicas.refit()
    cell.up("s", loaded=MODELS[1:])
    assert cell.starts() == [("loading", "s")]


def test_a_job_whose_model_has_gone_while_it_runs_goes_on_and_its_slot_is_its_own() -> None:
    cell = Cell(row("r"))
    cell.up("r")
    cell.submit("running", model=MODELS[1])
    assert cell.starts() == [("running", "r")]
    slot = cell.replicas.take("r", MODELS[1], cell.now)
    cell.chips = without(CHIPS, MODELS[1])
    cell.plan.reload(cell.chips)
    cell.replicas.refit()
    cell.submit("next")
    ((job, name),) = cell.starts()
    with pytest.raises(LookupError):
        cell.replicas.take("r", MODELS[0], cell.now)
    cell.plan.refused(name, MODELS[0], job)
    cell.plan.ended("running", "r", "delivered")
    cell.replicas.give_back(slot, MODELS[1])
    cell.now += 2.0
    assert cell.starts() == [("next", "r")]


def test_a_slot_that_is_still_at_work_is_not_given_even_after_new_tables() -> None:
    cell = Cell(row("r"))
    cell.plan.withhold("ghost", "r", MODELS[0])  # before it has been seen
    cell.up("r")
    cell.submit("job")
    assert cell.starts() == []
    cell.replicas.follow([row("r", version=2, price_micro_usd_per_hour=7)])
    assert cell.starts() == []
    cell.plan.let_go("ghost")
    assert cell.starts() == [("job", "r")]


def test_a_model_that_nobody_has_is_loaded_at_once_on_a_replica_that_nobody_wants() -> None:
    cell = Cell(row("r", loads=True, models_max=1))
    cell.up("r", loaded=MODELS[:1])
    cell.submit("job", model=MODELS[1])
    (load,) = cell.plan.decide()
    assert load == Start("job", "r", MODELS[1], (MODELS[0],))
    cell.replicas.begin("r", MODELS[1], [MODELS[0]], cell.now)
    assert cell.plan.decide() == []
    replica = cell.replicas.by_name["r"]
    cell.replicas.unloaded(replica, MODELS[0])
    cell.replicas.swapped(replica, MODELS[1], cell.now)
    assert cell.starts() == [("job", "r")]


def test_a_load_that_fails_puts_its_job_back() -> None:
    cell = Cell(row("r", loads=True, models_max=1))
    cell.up("r", loaded=MODELS[:1])
    cell.submit("job", model=MODELS[1])
    assert [type(one) for one in cell.plan.decide()] == [Start]
    cell.replicas.begin("r", MODELS[1], [MODELS[0]], cell.now)
    replica = cell.replicas.by_name["r"]
    cell.replicas.unloaded(replica, MODELS[0])
    cell.replicas.swapped(replica, MODELS[1], cell.now, failure="no memory")
    assert cell.plan.knows("job")
    assert [one for one in cell.plan.decide() if isinstance(one, Load)] == []


def test_a_replica_that_refuses_is_not_asked_again_at_once() -> None:
    cell = Cell(row("r"))
    cell.up("r")
    cell.submit("job")
    (start,) = cell.plan.decide()
    assert isinstance(start, Start)
    cell.plan.refused("r", cell.plan.model_of(start), "job")
    assert cell.starts() == []
    cell.now += 2.0
    assert cell.starts() == [("job", "r")]


def test_a_swap_that_was_refused_has_unloaded_nothing() -> None:
    cell = Cell(row("r", loads=True, models_max=1))
    cell.up("r", loaded=MODELS[:1])
    cell.submit("other", model=MODELS[1])
    (start,) = cell.plan.decide()
    assert isinstance(start, Start) and start.load == MODELS[1]
    cell.plan.refused("r", MODELS[1], "other")
    cell.submit("job")
    assert cell.starts() == [("job", "r")]


def test_a_cancelled_job_does_not_start() -> None:
    cell = Cell(row("r"))
    cell.up("r")
    cell.submit("one")
    cell.submit("two")
    cell.plan.drop("one")
    assert cell.starts() == [("two", "r")]
    cell.plan.drop("two")  # it runs: whoever runs it is told
    assert cell.plan.knows("two")


def test_the_whole_queue_is_restored_with_what_no_replica_can_run() -> None:
    cell = Cell(row("r", models=MODELS[:1]))
    cell.up("r", loaded=MODELS[:1])
    cell.plan.restore(
        Backlog(
            jobs=["a", "b", "c"],
            kinds=[(MODELS[0], "720p", "standard"), (MODELS[1], "480p", "flex")],
            kind=np.array([0, 1, 0]),
            organizations=["acme"],
            owner=np.array([0, 0, 0]),
            seconds=np.array([5.0, 5.0, 5.0]),
            submitted_at=np.array([1.0, 2.0, 3.0]),
            promised_at=np.array([np.nan, np.nan, np.nan]),
        )
    )
    assert all(cell.plan.knows(job) for job in "abc")
    assert cell.starts() == [("a", "r")]


def test_a_leader_decides_before_it_knows_the_whole_queue() -> None:
    cell = Cell(row("r", slots=2))
    cell.up("r")

    def waiting(*jobs: str, model: str = MODELS[0]) -> Backlog:
        count = len(jobs)
        return Backlog(
            list(jobs), [(model, "720p", "standard")], np.zeros(count, dtype=np.int64), ["acme"], np.zeros(count, dtype=np.int64),
            np.full(count, 5.0), np.arange(count, dtype=np.float64), np.full(count, np.nan),
        )  # fmt: skip

    cell.plan.restore(waiting("a", "b", "gone"))
    assert sorted(cell.starts()) == [("a", "r"), ("b", "r")]
    cell.plan.drop("gone")
    cell.submit("new")
    cell.submit("parked", model="unheard of")
    cell.plan.ended("a", "r", "delivered")
    cell.plan.complete(waiting("a", "b", "c", "d"))
    assert [cell.plan.knows(job) for job in ("b", "c", "d", "new", "parked", "gone")] == [True] * 5 + [False]
    started = [job for job, _ in cell.starts()]
    assert len(started) == 1 and "b" not in started  # which runs, on the other slot
    cell.plan.ended("b", "r", "delivered")
    while begun := cell.starts():
        started += [job for job, _ in begun]
        for job, _ in begun:
            cell.plan.ended(job, "r", "delivered")
        if len(started) > 1:
            cell.plan.ended(started[0], "r", "delivered")
    assert sorted(map(str, started)) == ["a", "c", "d", "new"]  # the lease of the first, which has ended, will not be had


def test_a_fleet_of_nothing_decides_nothing() -> None:
    cell = Cell()
    nothing, none = np.array([], dtype=np.float64), np.array([], dtype=np.int64)
    cell.plan.restore(Backlog([], [], none, [], none, nothing, nothing, nothing))
    cell.submit("job")
    decided: list[Decision] = cell.plan.decide()
    assert decided == [] and cell.plan.knows("job")
    cell.plan.drop("job")
    assert not cell.plan.knows("job")


@pytest.mark.parametrize(
    "changes,models,reason",
    [
        ({}, MODELS, ""),
        ({"models": [*MODELS, "unheard of"]}, MODELS, ""),
        ({"models": ["unheard of"]}, (), "the catalogue has no model unheard of"),
        ({"models": ["wan2.2-t2v-a14b"], "accelerator": "rtx4090"}, (), "no model fits: wan2.2-t2v-a14b needs"),
        ({"accelerator": "a new one"}, MODELS, "nobody has said what an hour of a new one costs"),
        ({"accelerator": "a new one", "price_micro_usd_per_hour": 5}, MODELS, ""),
    ],
)
def test_what_the_catalogue_has_against_a_replica(changes: Any, models: tuple[str, ...], reason: str) -> None:
    held, against = fit(CHIPS, row("r", **changes))
    assert held == models and against.startswith(reason) and bool(against) == bool(reason)


def test_a_model_is_loaded_where_it_is_cheap_rather_than_that_its_jobs_wait_for_nothing() -> None:
    cell = Cell(
        row("dear", price_micro_usd_per_hour=9_000_000), row("cheap", loads=True, price_micro_usd_per_hour=1_000_000)
    )  # fmt: skip
    cell.up("dear")
    cell.up("cheap", loaded=())
    cell.submit("job")
    assert cell.plan.decide() == [Start("job", "cheap", MODELS[0], ())]


def test_what_waits_for_a_loaded_model_keeps_it_there() -> None:
    cell = Cell(row("r", loads=True, models_max=1))
    cell.up("r", loaded=MODELS[:1])
    cell.submit("first")
    cell.submit("next")
    cell.submit("other", model=MODELS[1])
    assert cell.starts() == [("first", "r")]
    cell.plan.ended("first", "r", "delivered")
    assert cell.starts() == [("next", "r")]
    cell.plan.ended("next", "r", "delivered")
    assert cell.plan.decide() == [Start("other", "r", MODELS[1], (MODELS[0],))]
