"""Read the log of one organization, and forget what is old."""

from datetime import datetime
from uuid import UUID

from billing.kit.query import Conn
from gateway.requests import sql
from gateway.requests.model import Group, Logged

KEPT_DAYS = 30
_FORGOTTEN_MAX = 5000


async def list_calls(
    conn: Conn, org_id: UUID, *, since: datetime, until: datetime, limit: int, after: UUID | None = None,
    caller_id: UUID | None = None, status: int | None = None, code: str | None = None,
) -> list[Logged]:  # fmt: skip
    """Calls that changed something or were refused, the newest first."""
    return await sql.CALLS.all(conn, org_id, after, caller_id, status, code, since, until, limit)


async def group_calls(
    conn: Conn, org_id: UUID, *, since: datetime, until: datetime, caller_id: UUID | None = None
) -> list[Group]:
    """All calls by route and outcome, the most frequent first; reads that succeeded are counted by the minute."""
    return await sql.GROUPS.all(conn, org_id, caller_id, since, until)


async def forget_requests(conn: Conn) -> int:
    """What is older than 30 days, a batch at a time. Returns how much."""
    calls = await sql.FORGET_CALLS.run(conn, KEPT_DAYS, _FORGOTTEN_MAX)
    return calls + await sql.FORGET_READS.run(conn, KEPT_DAYS, _FORGOTTEN_MAX)
