"""Forget: counters of windows that are over."""

from billing.kit.query import Conn
from gateway.quotas import sql

_ROWS_MAX = 5000


async def forget_counters(conn: Conn) -> int:
    """A janitor's work. Returns how many; jobs that were counted in them may still run."""
    return await sql.FORGET.run(conn, _ROWS_MAX)
