"""Delete: the record disappears from every answer and its files are removed; the ledger keeps what it wrote."""

from uuid import UUID

from billing.kit.query import Conn
from gateway.jobs import sql


async def delete(conn: Conn, org_id: UUID, job_id: UUID) -> bool:
    """False when the job is not finished yet (or is deleted already)."""
    return await sql.DELETE.maybe(conn, org_id, job_id) is not None
