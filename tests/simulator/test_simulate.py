"""The simulator: small runs of the production scheduler, its files, its figures and its command."""

import csv
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli import tallylight
from gateway.fleet.catalogue import PACKAGED, load_models
from gateway.fleet.chips import load_chips
from gateway.simulator.bounds import bounds
from gateway.simulator.engine import POLICIES, Outcome, simulate
from gateway.simulator.report import Report, report
from gateway.simulator.scenarios import SCENARIOS, Ground
from gateway.simulator.setup import DEFAULT_FLEET, Arrival, Event, Setup, SetupError, World, read_events, read_fleet, read_trace
from gateway.simulator.traces import USUAL, arrivals, capacity_per_s, steady

SMALL_FLEET = """
[[pools]]
accelerator = "h100"
count = 6

[[pools]]
accelerator = "rtx4090"
count = 10
"""
MIX = msgspec.structs.replace(
    USUAL,
    share={("wan2.2-ti2v-5b", "720p"): 0.4, ("wan2.1-t2v-1.3b", "480p"): 0.4, ("wan2.1-t2v-14b", "480p"): 0.2},
    lengths_s=(3.0, 5.0),
    organizations=20,
)


@pytest.fixture(scope="module")
def fleet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "fleet.toml"
    path.write_text(SMALL_FLEET)
    return path


@pytest.fixture(scope="module")
def ground(fleet_file: Path) -> Ground:
    return Ground(*read_fleet(fleet_file, load_chips("")))


def trace(ground: Ground, load: float, minutes: float = 40.0, seed: int = 1) -> tuple[Arrival, ...]:
    return arrivals(MIX, load * capacity_per_s(ground.fleet, ground.replicas, MIX), steady, 1.0, minutes * 60, seed)


def accounts(outcome: Outcome) -> None:
    """Every admitted job ended once; nothing started before it came or ended before it started."""
    for one in outcome.records:
        if one.quote_s is None:
            assert one.started_s is None
            assert not one.attempts
        elif one.finished_s is not None:
            assert one.started_s is not None
            assert one.arrival.arrival_s <= one.started_s <= one.finished_s
            assert one.attempts >= 1
            assert one.cost_usd > 0


def test_the_same_seed_gives_the_same_run(ground: Ground) -> None:
    setup = ground.setup(trace(ground, 0.8, 15), world=World(failures=0.1, bias=0.2))
    first, second, other = (simulate(setup, "tallylight", seed) for seed in (5, 5, 6))
    assert first == second
    assert first != other


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_ends_what_it_admits(ground: Ground, policy: str) -> None:
    outcome = simulate(ground.setup(trace(ground, 1.2, 20)), policy, 1)
    accounts(outcome)
    assert all(one.finished_s is not None for one in outcome.records if one.quote_s is not None)


def test_promises_are_kept_and_cheaper_than_by_the_baseline(ground: Ground) -> None:
    setup = ground.setup(trace(ground, 0.8, 90))
    mine, theirs = (simulate(setup, policy, 1) for policy in ("tallylight", "strong"))
    made, base = (report(setup, "tallylight", 1, one, bounds(setup, setup.arrivals)) for one in (mine, theirs))
    assert made.tiers["priority"].on_target >= 0.9
    assert made.tiers["standard"].on_target == 1.0
    assert made.usd_per_generated_s < base.usd_per_generated_s
    assert made.bound_usd_per_generated_s is not None
    assert made.usd_per_generated_s >= made.bound_usd_per_generated_s * 0.99  # run times vary by chance, the bound's do not


def test_overload_is_refused_and_what_is_accepted_is_kept(ground: Ground) -> None:
    setup = ground.setup(trace(ground, 1.8, 60))
    made = report(setup, "tallylight", 1, simulate(setup, "tallylight", 1), None)
    assert made.tiers["priority"].rejected == 0
    assert made.tiers["priority"].late is not None
    assert made.tiers["priority"].late <= 0.1  # sixteen slots: a promise rests on few
    assert made.tiers["standard"].quote_p95_s is not None
    assert made.tiers["standard"].quote_p95_s > 600


def test_a_fleet_that_shrinks_grows_and_slows_loses_no_job(ground: Ground) -> None:
    events = [
        Event(300, "pool_loss", "rtx4090", 0.5), Event(500, "drain", "h100", 0.2), Event(600, "slowdown", "*", 2.0),
        Event(900, "join", "rtx4090", 3), Event(1_000, "failures", "h100", 0.5), Event(1_500, "pool_back", "rtx4090", 0.5),
    ]  # fmt: skip
    outcome = simulate(ground.setup(trace(ground, 0.7), events), "tallylight", 1)
    accounts(outcome)
    assert all(one.attempts >= 3 for one in outcome.records if one.quote_s is not None and one.finished_s is None)
    assert any(one.attempts > 1 for one in outcome.records)


def test_wrong_speeds_are_learnt(ground: Ground) -> None:
    setup = ground.setup(trace(ground, 0.6, 60), [Event(0, "slowdown", "rtx4090", 1.6)])
    made = report(setup, "tallylight", 1, simulate(setup, "tallylight", 1), None)
    assert made.tiers["standard"].on_target >= 0.95


def test_the_bound_counts_what_cannot_begin_in_time(ground: Ground) -> None:
    jobs = tuple(Arrival(0.0, "o", "wan2.1-t2v-14b", "480p", 5.0, "priority") for _ in range(100))
    bound = bounds(Setup(ground.fleet, ground.replicas, jobs), jobs)
    assert 0.1 < bound.attainable[0] < 0.9
    assert bound.loose_usd_per_s == pytest.approx(92 * 2.7 / 3_600, rel=1e-6)


def test_every_scenario_can_be_made() -> None:
    ground = Ground(*read_fleet(DEFAULT_FLEET, load_chips("")))
    for name, make in SCENARIOS.items():
        setup = make(ground, 1)
        assert len(setup.arrivals) > 1_000, name
        assert all(one.arrival_s <= other.arrival_s for one, other in itertools.pairwise(setup.arrivals))


def write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


HEAD = ("arrival_s", "organization", "model", "resolution", "seconds", "tier")
LINE = (0.5, "o", "wan2.1-t2v-1.3b", "480p", 5, "standard")
TRACES = [
    ([HEAD[:-1], LINE[:-1]], "the first line must name the columns"),
    ([HEAD, (0.5, "o", "sora", "480p", 5, "standard")], "line 2: no accelerator of the fleet has a speed for sora at 480p"),
    ([HEAD, LINE, ("soon", *LINE[1:])], "line 3: Expected `float`"),
    ([HEAD, (*LINE[:-1], "gold")], "line 2: Invalid enum value 'gold'"),
    ([HEAD, (*LINE[:4], 0, "standard")], "line 2: seconds must lie between 0 and 120"),
    ([HEAD, (-1, *LINE[1:])], "arrival_s must not be negative"),
    ([HEAD, ("nan", *LINE[1:])], "arrival_s must not be negative"),
]


@pytest.mark.parametrize("rows,sentence", TRACES)
def test_a_bad_trace_is_named(ground: Ground, tmp_path: Path, rows: list[Sequence[object]], sentence: str) -> None:
    with pytest.raises(SetupError) as raised:
        read_trace(write(tmp_path / "trace.csv", rows), ground.fleet)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "row,sentence",
    [
        ((0, "pool_loss", "h9", 0.5), "has no pool h9"),
        ((0, "flood", "h100", 1), "Invalid enum value 'flood'"),
        ((0, "slowdown", "*", 0), "nor a slowdown 0"),
    ],
)
def test_a_bad_event_is_named(ground: Ground, tmp_path: Path, row: Sequence[object], sentence: str) -> None:
    with pytest.raises(SetupError) as raised:
        read_events(write(tmp_path / "events.csv", [("at_s", "event", "pool", "value"), row]), ground.fleet)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("", "needs at least one [[pools]]"),
        ('[[pools]]\naccelerator = "h9"\ncount = 1\n', "has no accelerator h9"),
        ('[[pools]]\naccelerator = "mi300x"\ncount = 1\n', "needs a price above 0"),
        ('[[pools]]\naccelerator = "h100"\ncount = 1.5\n', "Expected `int`, got `float`"),
    ],
)
def test_a_bad_fleet_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "fleet.toml").write_text(text)
    with pytest.raises(SetupError) as raised:
        read_fleet(tmp_path / "fleet.toml", load_chips(""))
    assert sentence in str(raised.value)


def test_the_command(ground: Ground, fleet_file: Path, tmp_path: Path) -> None:
    rows = [HEAD, *([getattr(one, name) for name in HEAD] for one in trace(ground, 0.7, 10))]
    source = write(tmp_path / "trace.csv", rows)
    ask = ["simulate", "--trace", str(source), "--fleet", str(fleet_file)]
    done = CliRunner().invoke(tallylight, [*ask, "--json", str(tmp_path / "out.json"), "--plots", str(tmp_path / "plots")])
    assert done.exit_code == 0, done.output
    assert "on target" in done.output
    made = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Report)
    assert made.jobs == len(rows) - 1
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"trace-waits.svg", "trace-cost.svg"}
    unknown = CliRunner().invoke(tallylight, [*ask, "--policy", "wishful"])
    assert unknown.exit_code == 2
    missing = CliRunner().invoke(tallylight, ["simulate", "--trace", str(tmp_path / "none.csv")])
    assert missing.exit_code == 1
    assert "none.csv" in missing.output


def test_a_catalogue_of_ones_own_needs_no_fleet_beside_it(tmp_path: Path) -> None:
    """As a stranger would try it: three files, a trace, and what befalls the fleet."""
    shutil.copy(PACKAGED / "models.toml", tmp_path / "models.toml")
    chip = '[[accelerators]]\nname = "{0}"\ntitle = "x"\nvendor = "x"\nmemory_gib = 192\n'
    priced = 'price_micro_usd_per_hour = 1_000_000\nprice_source = "us"\nprice_date = 2026-01-01\n'
    speed = (
        '[[speeds]]\nmodel = "{0}"\naccelerator = "ours"\nresolution = "480p"\nseconds_per_second = 20.0\n'
        'provenance = "measured"\nsource = "us"\n'
    )
    (tmp_path / "accelerators.toml").write_text(chip.format("ours") + priced + chip.format("unpriced"))
    models = [model.name for model in load_models(str(tmp_path)).models if not model.like]
    (tmp_path / "speeds.toml").write_text("".join(speed.format(name) for name in models))
    rows = [HEAD, *((float(n), f"o{n % 3}", models[1], "480p", 5.0, "standard") for n in range(40))]
    events = [("at_s", "event", "pool", "value"), (20.0, "pool_loss", "ours", 0.5), (200.0, "pool_back", "ours", 1.0)]
    ask = ["simulate", "--catalogue", str(tmp_path), "--trace", str(write(tmp_path / "trace.csv", rows))]
    done = CliRunner().invoke(
        tallylight, [*ask, "--events", str(write(tmp_path / "events.csv", events)), "--policy", "tallylight"]
    )
    assert done.exit_code == 0, done.output
    assert "40 jobs on 32 each of ours" in done.output
    (tmp_path / "fleet.toml").write_text('[[pools]]\naccelerator = "ours"\ncount = 3\n')
    done = CliRunner().invoke(tallylight, [*ask, "--json", "-"])
    made = msgspec.json.decode(done.stdout, type=Report)
    assert made.jobs == 40 and made.finished == round(40 * (1 - made.tiers["standard"].rejected))
    assert (made.tiers["flex"].jobs, made.tiers["flex"].rejected, made.tiers["flex"].on_target) == (0, 0.0, 1.0)
