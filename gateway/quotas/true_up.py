"""True up: what an ended job was reserved is replaced by what it took; one that was not charged gives everything back."""

from collections.abc import Collection
from uuid import UUID

from billing.kit.query import Conn
from gateway.quotas import sql


async def true_up(conn: Conn, jobs: Collection[tuple[UUID, UUID]]) -> None:
    """`jobs` are (organization, job) of those that this transaction has just ended and that were counted.

    After the last verb of the ledger: counters are locked last.
    """
    if jobs:
        await sql.TRUE_UP.run(conn, [org_id for org_id, _ in jobs], [job_id for _, job_id in jobs])
