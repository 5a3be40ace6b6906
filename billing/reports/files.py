"""Reports as files: CSV streamed by COPY, Parquet written a page at a time."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from billing.kit.query import Conn, Query
from billing.reports import sql
from billing.reports.jobs import jobs, jobs_arguments
from billing.reports.model import Ask, JobLine, UsageRow
from billing.reports.parquet import write_parquet
from billing.reports.usage import plan_with_values, usage, usage_arguments

Write = Callable[[bytes], Awaitable[None]]

COPY_S = 600.0
"""How long a client may take to read a file."""
_PAGE = 10_000


async def usage_csv(conn: Conn, want: Ask, write: Write) -> None:
    """Every line of the usage report. The columns are always the same; those that were not grouped by are empty."""
    await plan_with_values(conn)
    await _copy(conn, sql.USAGE, usage_arguments(want, None), write)


async def jobs_csv(conn: Conn, want: Ask, write: Write) -> None:
    """Every usage row of the period that `want` lets through."""
    await plan_with_values(conn)
    await _copy(conn, sql.JOBS, jobs_arguments(want, None), write)


async def usage_parquet(conn: Conn, want: Ask, write: Write) -> None:
    """Raises ReportInvalid for more lines than a report may have, or where pyarrow is not installed."""

    async def pages() -> AsyncGenerator[list[UsageRow]]:
        yield await usage(conn, want)

    await write_parquet(UsageRow, pages(), write)


async def jobs_parquet(conn: Conn, want: Ask, write: Write) -> None:
    """Run it in a REPEATABLE READ transaction: it reads page by page. Raises ReportInvalid where pyarrow is not installed."""

    async def pages() -> AsyncGenerator[list[JobLine]]:
        page = await jobs(conn, want, limit=_PAGE)
        yield page.rows
        while page.next is not None:
            page = await jobs(conn, want, limit=_PAGE, cursor=page.next)
            yield page.rows

    await write_parquet(JobLine, pages(), write)


async def _copy(conn: Conn, query: Query[Any], arguments: tuple[object, ...], write: Write) -> None:
    await conn.copy_from_query(query.sql, *arguments, output=write, format="csv", header=True, timeout=COPY_S)
