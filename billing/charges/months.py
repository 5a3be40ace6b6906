"""The months that usage is stored by."""

from billing.charges import sql
from billing.kit.query import Conn


async def add_months(conn: Conn, *, ahead: int = 3) -> int:
    """Makes the partitions of this month and the next `ahead`, where they are missing. Returns how many were."""
    return sum([(await sql.ADD_MONTH.one(conn, month)).added for month in range(ahead + 1)])
