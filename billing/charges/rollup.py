"""Roll up: add what was recorded since to the sums per series and span of time."""

from billing.charges import sql
from billing.kit.query import Conn


async def roll_up(conn: Conn, *, rows_max: int = 50_000) -> int:
    """Adds at least the next transaction's rows and about `rows_max` at most, in the caller's transaction. Returns how many.

    Any number may run at once: all but one return 0. A report is right at every moment, however far behind this is.
    """
    if not (await sql.ALONE.one(conn)).alone:
        return 0
    # A statement of its own after the lock: only what begins now sees how far the last one came.
    if await sql.ANOTHER_CLUSTER.run(conn):
        await sql.FORGET_ROLLUP.run(conn)
    return (await sql.ROLL_UP.one(conn, rows_max)).rows
