"""Every statement of the audit log."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from gateway.audit.model import Entry


class End(msgspec.Struct, frozen=True):
    """The last link of an organization's chain, and the time; nulls where there is none yet."""

    at: datetime
    position: int | None
    digest: bytes | None


class Chained(msgspec.Struct, frozen=True):
    org_id: UUID


# Taken in a statement of its own: the next one must see what its former holder committed.
LOCK = Command("SELECT pg_advisory_xact_lock(hashtextextended('audit/' || $1::uuid::text, 0))")

END = Query(
    End,
    """
    SELECT billing.now() AS at, e.position, e.digest
    FROM (VALUES ($1::uuid)) AS o (org_id) LEFT JOIN LATERAL (
        SELECT position, digest FROM gateway.audit_entry WHERE org_id = o.org_id ORDER BY position DESC LIMIT 1
    ) e ON true
    """,
)

ADD = Command("""
    INSERT INTO gateway.audit_entry (org_id, position, at, actor, action, object_id, refused, before, after,
        address, request_id, digest)
    SELECT u.org_id, u.position, u.at, u.actor::jsonb, u.action, u.object_id, u.refused, u.before::jsonb, u.after::jsonb,
        u.address, u.request_id, u.digest
    FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::bytea[])
        AS u (org_id, position, at, actor, action, object_id, refused, before, after, address, request_id, digest)
""")

_COLUMNS = """
    org_id, position, at, actor::text AS actor, action, object_id, refused, before::text AS before, after::text AS after,
    address, request_id, digest
"""

ENTRIES = Query(
    Entry,
    "SELECT " + _COLUMNS + """ FROM gateway.audit_entry
    WHERE org_id = $1 AND position > $2
      AND ($3::text IS NULL OR action = $3 OR split_part(action, '.', 1) = $3)
      AND ($4::text IS NULL OR object_id = $4)
      AND ($5::text IS NULL OR actor ->> 'id' = $5)
      AND ($6::boolean IS NULL OR (refused IS NOT NULL) = $6)
      AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
    ORDER BY position LIMIT $9
    """,
)  # fmt: skip

CHAIN = Query(
    Entry,
    "SELECT " + _COLUMNS + " FROM gateway.audit_entry WHERE org_id = $1 AND position > $2 ORDER BY position LIMIT $3",
)

CHAINS = Query(Chained, "SELECT DISTINCT org_id FROM gateway.audit_entry ORDER BY org_id")
