"""Statement: what a wallet held, every movement, and what it holds then."""

from datetime import datetime

import msgspec

from billing.errors import UnknownWallet
from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.arguments import bounded
from billing.reports.model import ROWS_MAX, Movement, StatementOf


class Statement(msgspec.Struct, frozen=True):
    """`opening + the movements = closing`. Amounts are micro-units, or milliseconds where the asset is prepaid seconds."""

    asset: str
    start: datetime
    end: datetime
    opening: int
    movements: list[Movement]
    closing: int


async def statement(conn: Conn, of: StatementOf) -> Statement:
    """All of the period's movements, in order. Raises UnknownWallet, and ReportInvalid for more than ROWS_MAX."""
    rows = await sql.STATEMENT.all(conn, *statement_arguments(of, ROWS_MAX + 1))
    if not rows:
        raise UnknownWallet(of.asset)
    lines = bounded(rows)
    return Statement(of.asset, of.period.start, of.period.end, lines[0].balance, lines[1:-1], lines[-1].balance)


def statement_arguments(of: StatementOf, rows_max: int | None) -> tuple[object, ...]:
    return of.customer_id, of.book, of.asset, of.period.start, of.period.end, rows_max
