"""docs/fleet/ from the runs of tests/bench/fleet.py: `python -m tests.bench.fleet_pages`. Says what was run, also where it missed."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from gateway.fleet.policy.parameters import TIERS
from gateway.simulator.plots import draw
from gateway.simulator.report import Report, duration
from tests.bench.fleet import DOSE, others, results

FOLDER = Path("docs/fleet")
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t: half the width of a 95 % interval in standard errors, by the number of runs."""
HEAD = (
    "| policy | seeds | priority on target | standard on target | flex on target | rejected p/s/f | late p/s/f | quote p50 std | wait p95 std "
    "| $/s | of bound |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = results()
    parts: list[str] = []
    for scenario in DOSE:
        mine = [one for name, one in found if name == scenario]
        if not mine:
            continue
        policies = sorted({one.policy for one in mine}, key=lambda name: (name != "tallylight", name))
        parts += [f"## {scenario}\n", HEAD, *(_row(name, [one for one in mine if one.policy == name]) for name in policies), ""]
        parts += [f"![waits]({scenario}-waits.svg) ![cost]({scenario}-cost.svg)\n"]
        shown = [one for name in policies if name in {"tallylight", "strong"} for one in mine if one.policy == name]
        draw(FOLDER, scenario, shown)
    parts += [_saving(found), _crowd()]
    (FOLDER / "figures.md").write_text(
        "# Figures of every scenario\n\n" + "\n".join(part for part in parts if part) + "\n", encoding="utf-8"
    )


def _row(policy: str, runs: list[Report]) -> str:
    def tier(name: str, field: str) -> list[float]:
        return [value for one in runs if (value := getattr(one.tiers[name], field)) is not None]

    ratios = [one.usd_per_generated_s / one.bound_usd_per_generated_s for one in runs if one.bound_usd_per_generated_s]
    cells = [
        policy,
        str(len(runs)),
        *(_interval(tier(name, "on_target"), percent=True) for name in ("priority", "standard", "flex")),
    ]
    cells += [_slashes(tier, "rejected"), _slashes(tier, "late")]
    cells += [duration(mean(quotes)) if (quotes := tier("standard", "quote_p50_s")) else "–"]
    cells += [duration(mean(tier("standard", "wait_p95_s")))]
    cells += [f"{mean(one.usd_per_generated_s for one in runs):.5f}", _interval(ratios, percent=False)]
    return "| " + " | ".join(cells) + " |"


def _slashes(tier: Callable[[str, str], list[float]], field: str) -> str:
    shares: list[str] = []
    for name in ("priority", "standard", "flex"):
        values = tier(name, field)
        shares.append(f"{100 * mean(values):.1f}" if values else "–")
    return " / ".join(shares) + " %"


def _interval(values: list[float], *, percent: bool) -> str:
    """The mean and a 95 % interval of it."""
    if not values:
        return "–"
    scale, digits = (100.0, 2) if percent else (1.0, 3)
    half = T_95.get(len(values), 1.96) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{scale * mean(values):.{digits}f} ± {scale * half:.{digits}f}" + (" %" if percent else "")


def _saving(found: list[tuple[str, Report]]) -> str:
    """Paired: the same arrivals under both policies."""
    mine = {one.seed: one for name, one in found if name == "busy" and one.policy == "tallylight"}
    theirs = {one.seed: one for name, one in found if name == "busy" and one.policy == "strong"}
    savings = [
        1 - mine[seed].usd_per_generated_s / theirs[seed].usd_per_generated_s for seed in sorted(mine.keys() & theirs.keys())
    ]
    return (
        f"## busy, paired\n\nCost under the strong baseline: {_interval(savings, percent=True)} ({len(savings)} seeds).\n"
        if savings
        else ""
    )


def _crowd() -> str:
    """How the others' waits move while the crowd is there."""
    without, beside = others("without-crowd"), others("crowd")
    seeds = sorted(without.keys() & beside.keys())
    if not seeds:
        return ""
    lines = ["| tier | p95 without | p95 with | difference | relative |", "|---|---|---|---|---|"]
    for tier in TIERS:
        before, after = mean(without[seed][tier] for seed in seeds), mean(beside[seed][tier] for seed in seeds)
        moves = _interval([beside[seed][tier] - without[seed][tier] for seed in seeds], percent=False)
        lines.append(f"| {tier} | {before:.0f} s | {after:.0f} s | {moves} s | {100 * (after / max(before, 1e-9) - 1):+.0f} % |")
    return f"## the others while a crowd is there, paired, {len(seeds)} seeds\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
