"""Every statement of access."""

from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from gateway.access.model import Key, Organization


class KeyRow(msgspec.Struct, frozen=True):
    hash: bytes
    org_id: UUID
    project_id: UUID
    key_id: UUID
    livemode: bool
    lenient: bool
    currency: str


class KeyId(msgspec.Struct, frozen=True):
    id: UUID


class ProjectRow(msgspec.Struct, frozen=True):
    id: UUID
    name: str


ADD_ORGANIZATION = Command("""
    INSERT INTO gateway.organization (id, name, currency) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING
""")
ORGANIZATION = Query(Organization, "SELECT id, name, currency FROM gateway.organization WHERE name = $1")
ORGANIZATIONS = Query(Organization, "SELECT id, name, currency FROM gateway.organization ORDER BY name")

ADD_PROJECT = Command("INSERT INTO gateway.project (org_id, id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
PROJECT = Query(ProjectRow, "SELECT id, name FROM gateway.project WHERE org_id = $1 AND name = $2")

ADD_KEY = Command("""
    INSERT INTO gateway.api_key (org_id, id, project_id, name, hash, hint, livemode, lenient, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, billing.now() + make_interval(days => $9::int))
""")
KEYS = Query(
    Key,
    """
    SELECT k.id, p.name AS project, k.name, k.hint, k.livemode, k.lenient, k.created_at, k.expires_at, k.revoked_at
    FROM gateway.api_key k JOIN gateway.project p ON p.org_id = k.org_id AND p.id = k.project_id
    WHERE k.org_id = $1 ORDER BY k.created_at, k.id
    """,
)
REVOKE_KEY = Command("""
    UPDATE gateway.api_key SET revoked_at = coalesce(revoked_at, billing.now()) WHERE org_id = $1 AND id = $2
""")

VALID_KEYS = Query(
    KeyRow,
    """
    SELECT k.hash, k.org_id, k.project_id, k.id AS key_id, k.livemode, k.lenient, o.currency
    FROM gateway.api_key k JOIN gateway.organization o ON o.id = k.org_id
    WHERE k.hash = ANY($1::bytea[]) AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > billing.now())
    """,
)
# Usually none, so usually no rows to decode.
NO_LONGER_VALID = Query(
    KeyId,
    """
    SELECT u.id FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    LEFT JOIN gateway.api_key k ON k.org_id = u.org_id AND k.id = u.id AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > billing.now())
    WHERE k.id IS NULL
    """,
)
