"""Record usage: one immutable row each, in the transaction that charged for it."""

from collections.abc import Sequence

import msgspec

from billing.charges import sql
from billing.charges.model import Usage
from billing.kit.query import Conn


async def record(conn: Conn, rows: Sequence[Usage]) -> None:
    """Adds usage rows, set-based: at the moment of their transfer, else now. The caller sees to it that none comes twice."""
    if not rows:
        return
    ids = [row.series.id for row in rows]
    series = dict(zip(ids, (row.series for row in rows), strict=True))
    facts = [msgspec.structs.astuple(one) for one in series.values()]
    columns = [list(column) for column in zip(*facts, strict=True)]
    await sql.ADD_SERIES.run(conn, list(series), *columns)
    figures = [(row.subject_id, series_id, *msgspec.structs.astuple(row)[2:]) for row, series_id in zip(rows, ids, strict=True)]
    await sql.ADD_USAGE.run(conn, *[list(column) for column in zip(*figures, strict=True)])
