"""Usage: what was delivered and charged, by any dimensions, equal to the ledger at every moment."""

from billing.kit.query import Conn
from billing.reports import sql
from billing.reports.arguments import bounded, of_sums, plan_with_values
from billing.reports.model import ROWS_MAX, Ask, UsageRow


async def usage(conn: Conn, want: Ask) -> list[UsageRow]:
    """The lines of the report, by time and then by group. Raises ReportInvalid for more than ROWS_MAX."""
    await plan_with_values(conn)
    return bounded(await sql.USAGE.all(conn, *usage_arguments(want, ROWS_MAX + 1)))


def usage_arguments(want: Ask, rows_max: int | None) -> tuple[object, ...]:
    """Raises ReportInvalid."""
    return (*of_sums(want, rows_max), list(want.label_groups))
