"""The fleet on paper: every scenario on held-out seeds, into a folder of JSON lines that tests/bench/fleet_pages.py turns into docs/fleet/.

`--only busy` runs one scenario, `--runs N` the first N held-out seeds, `--seconds S` stops starting runs after S seconds; what is there
already is not run again, so that a long dose can be taken in pieces.
"""

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import quantiles

import msgspec

from gateway.fleet.chips import load_chips
from gateway.fleet.policy.parameters import TIERS
from gateway.simulator.bounds import bounds
from gateway.simulator.engine import Outcome, simulate
from gateway.simulator.report import Report, report
from gateway.simulator.scenarios import CROWD_HOURS, HELD_OUT_SEEDS, SCENARIOS, Ground
from gateway.simulator.setup import DEFAULT_FLEET, read_fleet
from gateway.simulator.traces import CROWD, HOUR_S

RUNS = Path(".data/fleet-runs")
EVERY = ("fifo", "fifo+gate", "fifo-model", "fifo-model+gate", "least-loaded", "least-loaded+gate", "cheapest", "cheapest+gate")
DOSE: dict[str, tuple[str, ...]] = {
    "busy": ("tallylight", "strong", "strong+gate"),
    "overload": ("tallylight", "strong", "strong+gate"),
    "crowd": ("tallylight",),
    "without-crowd": ("tallylight",),
    "failures": ("tallylight", "strong"),
    "lost-pool": ("tallylight", "strong"),
    "slowdown": ("tallylight", "strong"),
    "wrong-speeds": ("tallylight", "strong"),
    "festival": ("tallylight", "strong"),
    "deep-festival": ("tallylight", "strong"),
    "diurnal": ("tallylight", "strong"),
}
"""On every held-out seed. The other baselines run on the first two seeds of `busy`."""


def run(runs: int, seconds: float, only: str) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    seeds = HELD_OUT_SEEDS[:runs]
    wanted = [(scenario, policy, seed) for scenario, policies in DOSE.items() for seed in seeds for policy in policies]
    wanted += [("busy", policy, seed) for policy in EVERY for seed in seeds[:2]]
    todo = [one for one in wanted if (not only or one[0] == only) and not _file(*one).exists()]
    until = time.monotonic() + seconds
    with ProcessPoolExecutor(2) as workers:
        for future in as_completed([workers.submit(_one, *one, until) for one in todo]):
            if future.result():
                print(future.result(), flush=True)


def results() -> list[tuple[str, Report]]:
    """(scenario, report) of everything that was run."""
    found = sorted(RUNS.glob("*.json"))
    return [(path.stem.split(".")[0], msgspec.json.decode(path.read_bytes(), type=Report)) for path in found]


def _one(scenario: str, policy: str, seed: int, until: float) -> str:
    if time.monotonic() > until:
        return ""
    setup = SCENARIOS[scenario](Ground(*read_fleet(DEFAULT_FLEET, load_chips(""))), seed)
    outcome = simulate(setup, policy, seed)
    finished = [one.arrival for one in outcome.records if one.finished_s is not None]
    made = report(setup, policy, seed, outcome, bounds(setup, finished))
    _file(scenario, policy, seed).write_bytes(msgspec.json.encode(made))
    if "crowd" in scenario:
        (RUNS / "others").mkdir(exist_ok=True)
        (RUNS / "others" / f"{scenario}.{seed}.json").write_bytes(msgspec.json.encode(_others(outcome)))
    return f"{scenario} {policy} {seed}"


def others(scenario: str) -> dict[int, dict[str, float]]:
    """By seed and tier, what `_others` found."""
    found = (RUNS / "others").glob(f"{scenario}.*.json")
    return {int(path.stem.split(".")[1]): msgspec.json.decode(path.read_bytes(), type=dict[str, float]) for path in found}


def _others(outcome: Outcome) -> dict[str, float]:
    """By tier, p95 of the wait of everybody but the crowd, of the jobs that came while the crowd was there."""
    begin_s, end_s = (hours * HOUR_S for hours in CROWD_HOURS)
    waits: dict[str, list[float]] = {tier: [] for tier in TIERS}
    for one in outcome.records:
        if one.started_s is not None and one.arrival.organization != CROWD and begin_s <= one.arrival.arrival_s < end_s:
            waits[one.arrival.tier].append(one.started_s - one.arrival.arrival_s)
    return {tier: quantiles(values, n=20)[-1] for tier, values in waits.items()}


def _file(scenario: str, policy: str, seed: int) -> Path:
    return RUNS / f"{scenario}.{policy}.{seed}.json"
