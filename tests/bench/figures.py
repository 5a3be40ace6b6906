"""What a benchmark says: one JSON object per line."""

import os
import sys
from collections.abc import Sequence
from statistics import median

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """`value`, `yardstick` and `ratio` are medians over `runs`; each ratio is between neighbours in time.

    `spread` is [smallest, largest] of the ratio where there is one, else of the value. `load` is the machine's load average
    over one minute, measured at the end.
    """

    bench: str
    figure: str
    value: float
    unit: str
    runs: int
    spread: tuple[float, float]
    load: float
    yardstick: float | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None


def figure(
    bench: str,
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    yardsticks: Sequence[float] = (),
    least: float | None = None,
    most: float | None = None,
) -> Figure:
    """`least` and `most` are goals for the ratio, or for the value where there is no yardstick."""
    ratios = [value / yardstick for value, yardstick in zip(values, yardsticks, strict=True)] if yardsticks else []
    judged = ratios or list(values)
    middle, goal, met = median(judged), None, None
    if least is not None:
        goal, met = f">= {least:g}", middle >= least
    if most is not None:
        goal, met = f"<= {most:g}", middle <= most
    made = Figure(
        bench=bench,
        figure=name,
        value=_short(median(values)),
        unit=unit,
        runs=len(values),
        spread=(_short(min(judged)), _short(max(judged))),
        load=round(os.getloadavg()[0], 1),
        yardstick=_short(median(yardsticks)) if yardsticks else None,
        ratio=_short(middle) if ratios else None,
        goal=goal,
        met=met,
    )
    sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
    sys.stdout.flush()
    return made


def _short(value: float) -> float:
    """Three significant places are more than a shared machine repeats."""
    return float(f"{value:.4g}")
