"""Usage: what was delivered and charged, by any dimensions, equal to the ledger at every moment."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from billing.errors import ReportInvalid
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.model import ROWS_MAX, Ask, MarginRow, UsageRow
from billing.reports.period import buckets, pieces

Row = TypeVar("Row", bound=msgspec.Struct)


async def usage(conn: Conn, want: Ask) -> list[UsageRow]:
    """The lines of the report, by time and then by group. Raises ReportInvalid for more than ROWS_MAX."""
    await plan_with_values(conn)
    return _bounded(await sql.USAGE.all(conn, *usage_arguments(want, ROWS_MAX + 1)))


async def margin(conn: Conn, want: Ask) -> list[MarginRow]:
    """Revenue against compute cost, by organization, model, chip or time. Raises ReportInvalid."""
    for group in (*want.groups, *(f"label:{name}" for name in want.label_groups)):
        if group not in ("organization", "model", "chip"):
            raise ReportInvalid(f"a margin is grouped by organization, model or chip, not by {group}", "group_by")
    await plan_with_values(conn)
    return _bounded(await sql.MARGIN.all(conn, *_arguments(want, ROWS_MAX + 1)))


async def plan_with_values(conn: Conn) -> None:
    """For the rest of the transaction, every statement is planned with the filters it is given."""
    await sql.PLAN_EACH.one(conn)
    await sql.NO_JIT.one(conn)


def series_arguments(want: Ask) -> tuple[object, ...]:
    """$1 … $11 of every report."""
    ids = [list(want.ids[name]) if name in want.ids else None for name in ("organization", "project", "key")]
    names = [
        list(want.names[name]) if name in want.names else None
        for name in ("model", "chip", "tier", "resolution", "task", "outcome")
    ]
    return (want.book, *ids, *names, msgspec.json.encode(want.labels) if want.labels else None)


def usage_arguments(want: Ask, rows_max: int | None) -> tuple[object, ...]:
    return (*_arguments(want, rows_max), list(want.label_groups))


def _arguments(want: Ask, rows_max: int | None) -> tuple[object, ...]:
    """$1 … $24 of a report that adds up."""
    cuts = buckets(want.period, want.step)
    runs = pieces(want.period, cuts)
    inner_start, inner_end = want.period.inner
    return (
        *series_arguments(want),
        want.period.start, inner_start, inner_end, want.period.end,
        [cut.start for cut in cuts], [cut.end for cut in cuts], [cut.label for cut in cuts],
        [run.n for run in runs], [run.width_s for run in runs], [run.start for run in runs], [run.end for run in runs],
        list(want.groups), rows_max,
    )  # fmt: skip


def _bounded(rows: Sequence[Row]) -> list[Row]:
    if len(rows) > ROWS_MAX:
        raise ReportInvalid(f"the report has more than {ROWS_MAX} lines; group by less, or take it as csv", "group_by")
    return list(rows)
