"""List jobs: newest first unless asked otherwise, by cursor or by page."""

from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.jobs import sql
from gateway.jobs.model import JobRow


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs of a project to list; None leaves a field open."""

    org_id: UUID
    project_id: UUID
    livemode: bool
    states: tuple[str, ...] | None = None
    model: str | None = None
    tier: str | None = None
    ids: tuple[UUID, ...] | None = None


async def list_jobs(
    conn: Conn, only: Filter, *, limit: int, after: UUID | None = None, ascending: bool = False, offset: int = 0
) -> tuple[list[JobRow], bool]:
    """At most `limit` jobs after the cursor, and whether there are more."""
    rows = await sql.LIST.all(
        conn,
        only.org_id,
        only.project_id,
        only.livemode,
        after,
        ascending,
        only.states,
        only.model,
        only.tier,
        only.ids,
        limit + 1,
        offset,
    )
    return rows[:limit], len(rows) > limit


async def count_jobs(conn: Conn, only: Filter) -> int:
    found = await sql.COUNT.one(conn, only.org_id, only.project_id, only.livemode, only.states, only.model, only.tier, only.ids)
    return found.n
