"""Prove the counters: each is worked out again from the jobs that were reserved in it."""

from billing.kit.query import Conn
from billing.ledger.model import Finding
from gateway.quotas import sql


async def verify_quotas(conn: Conn) -> list[Finding]:
    """Every counter that disagrees with its jobs, and every job counted twice or where it does not belong (100 per rule).

    Run it in a REPEATABLE READ transaction, so that jobs and counters are read as of one moment.
    """
    return [
        *await sql.WRONG_COUNTERS.all(conn),
        *await sql.WRONG_SUBJECTS.all(conn),
        *await sql.COUNTED_TWICE.all(conn),
    ]
