"""Reports as files: CSV streamed by COPY, Parquet written a page at a time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from billing.kit.query import Conn, Query
from billing.reports import sql
from billing.reports.arguments import plan_with_values
from billing.reports.jobs import jobs, jobs_arguments
from billing.reports.model import Ask, JobLine, Movement, StatementOf, UsageRow
from billing.reports.parquet import write_parquet
from billing.reports.statement import statement, statement_arguments
from billing.reports.usage import usage, usage_arguments

Row = TypeVar("Row", bound=msgspec.Struct)
Write = Callable[[bytes], Awaitable[None]]

COPY_S = 600.0
"""How long a client may take to read a file."""
_PATIENCE_MS = str(int(COPY_S * 1000))
_PAGE = 10_000


async def usage_csv(conn: Conn, want: Ask, write: Write) -> None:
    """Every line of the usage report. The columns are always the same; those that were not grouped by are empty."""
    await plan_with_values(conn)
    await _copy(conn, sql.USAGE, usage_arguments(want, None), write)


async def jobs_csv(conn: Conn, want: Ask, write: Write) -> None:
    """Every usage row of the period that `want` lets through."""
    await plan_with_values(conn)
    await _copy(conn, sql.JOBS, jobs_arguments(want, None), write)


async def statement_csv(conn: Conn, of: StatementOf, write: Write) -> None:
    """Opening, every movement, closing; only the heading where there is no such wallet."""
    await _copy(conn, sql.STATEMENT, statement_arguments(of, None), write)


async def statement_parquet(conn: Conn, of: StatementOf, write: Write) -> None:
    """The movements. Raises UnknownWallet, and ReportInvalid where pyarrow is not installed."""
    found = await statement(conn, of)
    await write_parquet(Movement, _once(found.movements), write)


async def usage_parquet(conn: Conn, want: Ask, write: Write) -> None:
    """Raises ReportInvalid for more lines than a report may have, or where pyarrow is not installed."""
    await write_parquet(UsageRow, _once(await usage(conn, want)), write)


async def jobs_parquet(conn: Conn, want: Ask, write: Write) -> None:
    """Run it in a REPEATABLE READ transaction: it reads page by page. Raises ReportInvalid where pyarrow is not installed."""
    await sql.PATIENT.one(conn, _PATIENCE_MS)

    async def pages() -> AsyncGenerator[list[JobLine]]:
        page = await jobs(conn, want, limit=_PAGE)
        yield page.rows
        while page.next is not None:
            page = await jobs(conn, want, limit=_PAGE, cursor=page.next)
            yield page.rows

    await write_parquet(JobLine, pages(), write)


async def _once(rows: list[Row]) -> AsyncGenerator[list[Row]]:
    yield rows


async def _copy(conn: Conn, query: Query[Any], arguments: tuple[object, ...], write: Write) -> None:
    async def hand_on(part: bytes | bytearray) -> None:
        await write(bytes(part))

    await sql.PATIENT.one(conn, _PATIENCE_MS)
    await conn.copy_from_query(query.sql, *arguments, output=hand_on, format="csv", header=True, timeout=COPY_S)
