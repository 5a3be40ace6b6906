"""What a simulation came to: every figure of one run, ready for JSON, and a table for people."""

from collections.abc import Sequence
from statistics import median

import numpy as np
from msgspec import Struct

from gateway.fleet.policy.parameters import DEFAULT, TIERS
from gateway.simulator.bounds import Bounds
from gateway.simulator.engine import GATE, PRODUCTION, Outcome, Record
from gateway.simulator.setup import Setup

_GRID = 120


class TierFigures(Struct, frozen=True):
    """Of one tier. `on_target`: the share of all jobs, rejected ones included, that started within the fixed target; `late`:
    the share of the admitted that started after their own quote, None where nothing was quoted. Waits and quotes in seconds.
    """

    jobs: int
    on_target: float
    rejected: float
    late: float | None
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    quote_p50_s: float | None
    quote_p95_s: float | None
    attainable: float | None = None


class OrganizationFigures(Struct, frozen=True):
    jobs: int
    rejected: int
    wait_p50_s: float
    wait_p95_s: float
    generated_s: float


class Report(Struct, frozen=True):
    """One run. Costs are of device time, failed attempts and model loading included, per generated second of finished jobs;
    the bounds are for the same finished jobs. `waits`: by tier, [minutes since the start, p95 of the wait of those that arrived
    then].
    """

    policy: str
    seed: int
    jobs: int
    finished: int
    given_up: int
    tiers: dict[str, TierFigures]
    usd_per_generated_s: float
    bound_usd_per_generated_s: float | None
    loose_bound_usd_per_generated_s: float | None
    wasted_share: float
    loading_share: float
    swaps_per_job: float
    loads: int
    hedges: int
    utilisation: dict[str, float]
    organizations: dict[str, dict[str, OrganizationFigures]]
    waits: dict[str, list[tuple[float, float]]]


def report(setup: Setup, policy: str, seed: int, outcome: Outcome, bound: Bounds | None) -> Report:
    """`bound` is that of the jobs which finished."""
    records = outcome.records
    finished = [one for one in records if one.finished_s is not None]
    generated_s = sum(one.arrival.seconds for one in finished) or 1.0
    usd = sum(one.cost_usd for one in records) + outcome.placement_usd
    quoted = policy == PRODUCTION or policy.endswith(GATE)
    span_s = max((one.arrival.arrival_s for one in records), default=1.0) or 1.0
    slots = {pool: sum(one.slots for one in setup.replicas if one.pool == pool) for pool in outcome.pool_busy_s}
    return Report(
        policy=policy,
        seed=seed,
        jobs=len(records),
        finished=len(finished),
        given_up=sum(one.quote_s is not None for one in records) - len(finished),
        tiers={
            tier: _tier([one for one in records if one.arrival.tier == tier], t, bound, quoted=quoted)
            for t, tier in enumerate(TIERS)
        },
        usd_per_generated_s=usd / generated_s,
        bound_usd_per_generated_s=bound.usd_per_s if bound else None,
        loose_bound_usd_per_generated_s=bound.loose_usd_per_s if bound else None,
        wasted_share=outcome.wasted_usd / max(usd, 1e-9),
        loading_share=(outcome.loading_usd + outcome.placement_usd) / max(usd, 1e-9),
        swaps_per_job=outcome.swaps / max(len(records), 1),
        loads=outcome.loads,
        hedges=outcome.hedges,
        utilisation={pool: outcome.pool_busy_s[pool] / max(outcome.ended_s, 1.0) / max(slots[pool], 1) for pool in slots},
        organizations=_organizations(records),
        waits={tier: _waits([one for one in records if one.arrival.tier == tier], span_s) for tier in TIERS},
    )


def table(reports: Sequence[Report]) -> list[tuple[str, ...]]:
    """One line for each run and tier; the first row is the heading."""
    rows: list[tuple[str, ...]] = [
        (
            "policy",
            "tier",
            "jobs",
            "on target",
            "rejected",
            "late",
            "wait p50",
            "wait p95",
            "quote p50",
            "quote p95",
            "$/s",
            "of bound",
        )
    ]
    for one in reports:
        ratio = one.usd_per_generated_s / one.bound_usd_per_generated_s if one.bound_usd_per_generated_s else None
        for tier, figures in one.tiers.items():
            times = (figures.wait_p50_s, figures.wait_p95_s, figures.quote_p50_s, figures.quote_p95_s)
            shares = (figures.on_target, figures.rejected, figures.late)
            cost = (f"{one.usd_per_generated_s:.5f}", "–" if ratio is None else f"{ratio:.3f}")
            rows.append((one.policy, tier, str(figures.jobs), *map(_percent, shares), *map(duration, times), *cost))
    return rows


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.1 h`."""
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _tier(records: list[Record], t: int, bound: Bounds | None, *, quoted: bool) -> TierFigures:
    count = max(len(records), 1)
    admitted = [one for one in records if one.quote_s is not None]
    waits = [_wait(one) for one in admitted]
    quotes = [one.quote_s for one in admitted if one.quote_s is not None]
    late = sum(wait > quote for wait, quote in zip(waits, quotes, strict=True)) / max(len(admitted), 1)
    return TierFigures(
        jobs=len(records),
        on_target=sum(wait <= DEFAULT.target_s[t] for wait in waits) / count if records else 1.0,
        rejected=(len(records) - len(admitted)) / count,
        late=late if quoted else None,
        wait_p50_s=_quantile(waits, 50),
        wait_p95_s=_quantile(waits, 95),
        wait_p99_s=_quantile(waits, 99),
        quote_p50_s=median(quotes) if quoted and quotes else None,
        quote_p95_s=_quantile(quotes, 95) if quoted and quotes else None,
        attainable=bound.attainable[t] if bound else None,
    )


def _wait(record: Record) -> float:
    """A job that never started waited for ever; a week is drawn as that."""
    return 7 * 86_400.0 if record.started_s is None else record.started_s - record.arrival.arrival_s


def _quantile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent, method="lower")) if values else 0.0


def _organizations(records: Sequence[Record]) -> dict[str, dict[str, OrganizationFigures]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for one in records:
        found.setdefault((one.arrival.organization, one.arrival.tier), []).append(one)
    made: dict[str, dict[str, OrganizationFigures]] = {}
    for (name, tier), theirs in sorted(found.items()):
        waits = [_wait(one) for one in theirs if one.quote_s is not None]
        made.setdefault(name, {})[tier] = OrganizationFigures(
            len(theirs),
            len(theirs) - len(waits),
            _quantile(waits, 50),
            _quantile(waits, 95),
            sum(one.arrival.seconds for one in theirs if one.finished_s is not None),
        )
    return made


def _waits(records: Sequence[Record], span_s: float) -> list[tuple[float, float]]:
    step_s = span_s / _GRID
    found: dict[int, list[float]] = {}
    for one in records:
        if one.quote_s is not None:
            found.setdefault(min(int(one.arrival.arrival_s / step_s), _GRID - 1), []).append(_wait(one))
    return [((place + 0.5) * step_s / 60, _quantile(waits, 95)) for place, waits in sorted(found.items())]
