"""Read the trail of one organization."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.audit import sql
from gateway.audit.model import Entry


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; None is anything. `action` is `key.revoke` or all of `key`; `since` is included, `until` is not."""

    action: str | None = None
    object_id: str | None = None
    actor_id: str | None = None
    refused: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


async def entries_after(conn: Conn, org_id: UUID, position: int, want: Sought, *, limit: int = 100) -> list[Entry]:
    """The next entries after `position`, oldest first."""
    return await sql.ENTRIES.all(
        conn, org_id, position, want.action, want.object_id, want.actor_id, want.refused, want.since, want.until, limit
    )
