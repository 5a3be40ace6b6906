"""Margins: revenue against what the compute cost, each in its own currency."""

from collections.abc import Mapping, Sequence

import msgspec

from billing.errors import ReportInvalid
from billing.kit.money import MICRO
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.arguments import bounded, of_sums, plan_with_values
from billing.reports.model import ROWS_MAX, Ask, MarginRow, TrueUp
from billing.reports.period import Period

Rates = Mapping[tuple[str, str], int]
"""By (cost currency, currency of the revenue): what one of the former is worth, in micro-units of the latter."""


class Margin(msgspec.Struct, frozen=True):
    """`margin_micro` is in the currency of the revenue and `margin_bp` in ten-thousandths of it.

    Both are None where the currencies differ and no rate was given, the latter also where there is no revenue.
    """

    line: MarginRow
    margin_micro: int | None
    margin_bp: int | None


async def true_ups(conn: Conn, period: Period) -> list[TrueUp]:
    """Those of the months (UTC) that begin in the period."""
    return await sql.TRUE_UPS.all(conn, period.start, period.end)


async def margin(conn: Conn, want: Ask, rates: Rates | None = None) -> list[Margin]:
    """By organization, model, chip or time. Raises ReportInvalid for another group."""
    for group in (*want.groups, *(f"label:{name}" for name in want.label_groups)):
        if group not in ("organization", "model", "chip"):
            raise ReportInvalid(f"a margin is grouped by organization, model or chip, not by {group}", "group_by")
    await plan_with_values(conn)
    return compare(bounded(await sql.MARGIN.all(conn, *of_sums(want, ROWS_MAX + 1))), rates or {})


def compare(lines: Sequence[MarginRow], rates: Rates) -> list[Margin]:
    """Nothing is converted but at a rate that was given; a cost is rounded up to a micro-unit."""
    return [_compare(line, rates) for line in lines]


def _compare(line: MarginRow, rates: Rates) -> Margin:
    rate_micro = MICRO if line.currency == line.cost_currency else rates.get((line.cost_currency, line.currency))
    if rate_micro is None:
        return Margin(line, None, None)
    margin_micro = line.revenue_micro + -line.cost_micro * rate_micro // MICRO
    return Margin(line, margin_micro, margin_micro * 10_000 // line.revenue_micro if line.revenue_micro > 0 else None)
