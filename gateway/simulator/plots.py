"""Line charts as SVG files: axes with round figures, one colour a line, a legend, nothing else."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path

from gateway.simulator.report import Report

Points = Sequence[tuple[float, float]]
_COLOURS = ("#0b6e4f", "#c1440e", "#2b59c3", "#8a4fbe", "#b8860b", "#555555")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 380, 78, 190, 44, 52


def line_chart(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Points],
    *,
    logarithmic: bool = False,
    floor_y: float = 0.0,
) -> None:
    """Writes one chart. `logarithmic`: the y axis counts in powers of ten from `floor_y` up, and what is smaller lies on the
    floor.
    """
    points = [point for line in lines.values() for point in line] or [(0.0, 1.0)]
    x_ticks = _ticks(min(x for x, _ in points), max(x for x, _ in points))
    if logarithmic:
        low = floor(log10(floor_y))
        y_ticks = [10.0**power for power in range(low, max(ceil(log10(max(y for _, y in points) or 1)), low + 1) + 1)]
    else:
        y_ticks = _ticks(floor_y, max(y for _, y in points))

    def across(x: float) -> float:
        return _LEFT + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        place = (
            log10(max(y, y_ticks[0]) / y_ticks[0]) / log10(y_ticks[-1] / y_ticks[0])
            if logarithmic
            else (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        )
        return _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    parts += [
        f'<text x="{across(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>' for tick in x_ticks
    ]
    for tick in y_ticks:
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(18 {_HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if len(line) == 1:
            parts.append(f'<circle cx="{across(line[0][0]):.1f}" cy="{up(line[0][1]):.1f}" r="4" fill="{colour}"/>')
        y = _TOP + 14 + 20 * number
        key = _WIDTH - _RIGHT + 14
        parts.append(f'<line x1="{key}" x2="{key + 22}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 42}" y="{y}">{escape(name)}</text>')
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def _ticks(low: float, high: float) -> list[float]:
    """About six round figures that enclose both."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    span = high - low
    step = 10.0 ** floor(log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    return [round(step * n, 10) for n in range(floor(low / step), ceil(high / step) + 1)]


def draw(folder: Path, name: str, reports: Sequence[Report]) -> None:
    """Two charts of one scenario: how long jobs waited, by tier, through the first run of each policy; and what each run cost
    against its bound.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = Path(name).stem
    first: dict[str, Report] = {}
    for one in reports:
        first.setdefault(one.policy, one)
    waits = {f"{policy}, {tier}": line for policy, one in first.items() for tier, line in one.waits.items() if line}
    line_chart(
        folder / f"{stem}-waits.svg", f"{stem}: 95 % waited less", "minutes", "seconds", waits, logarithmic=True, floor_y=1.0
    )
    cost: dict[str, list[tuple[float, float]]] = {}
    for policy in first:
        runs = [one for one in reports if one.policy == policy]
        cost[policy] = [(float(n), one.usd_per_generated_s) for n, one in enumerate(runs, 1)]
    mine = [one for one in reports if one.policy == reports[0].policy]
    cost["bound"] = [(float(n), one.bound_usd_per_generated_s) for n, one in enumerate(mine, 1) if one.bound_usd_per_generated_s]
    line_chart(folder / f"{stem}-cost.svg", f"{stem}: cost of a generated second", "run", "USD", cost)
