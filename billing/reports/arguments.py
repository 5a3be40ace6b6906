"""What the statements of reports are given; pure but for `plan_with_values`."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from billing.errors import ReportInvalid
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.model import ROWS_MAX, Ask
from billing.reports.period import buckets, pieces

Row = TypeVar("Row", bound=msgspec.Struct)


async def plan_with_values(conn: Conn) -> None:
    """For the rest of the transaction, every statement is planned with the filters it is given."""
    await sql.PLAN_EACH.one(conn)


def of_series(want: Ask) -> tuple[object, ...]:
    """$1 … $11: which series."""
    ids = [list(want.ids[name]) if name in want.ids else None for name in ("organization", "project", "key")]
    names = [
        list(want.names[name]) if name in want.names else None
        for name in ("model", "chip", "tier", "resolution", "task", "outcome")
    ]
    return (want.book, *ids, *names, msgspec.json.encode(want.labels) if want.labels else None)


def of_sums(want: Ask, rows_max: int | None) -> tuple[object, ...]:
    """$1 … $24 of a report that adds up. Raises ReportInvalid."""
    cuts = buckets(want.period, want.step)
    runs = pieces(want.period, cuts)
    inner_start, inner_end = want.period.inner
    return (
        *of_series(want),
        want.period.start, inner_start, inner_end, want.period.end,
        [cut.start for cut in cuts], [cut.end for cut in cuts], [cut.label for cut in cuts],
        [run.n for run in runs], [run.width_s for run in runs], [run.start for run in runs], [run.end for run in runs],
        list(want.groups), rows_max,
    )  # fmt: skip


def bounded(rows: Sequence[Row]) -> list[Row]:
    """Raises ReportInvalid for more than ROWS_MAX."""
    if len(rows) > ROWS_MAX:
        raise ReportInvalid(f"the report has more than {ROWS_MAX} lines; ask for less, or for csv", "format")
    return list(rows)
