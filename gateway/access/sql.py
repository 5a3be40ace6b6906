"""Every statement of access."""

from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from gateway.access.model import Key, Organization, OrganizationSettings, Project


class KeyRow(msgspec.Struct, frozen=True):
    hash: bytes
    org_id: UUID
    project_id: UUID
    key_id: UUID
    livemode: bool
    lenient: bool
    currency: str


class ManagerRow(msgspec.Struct, frozen=True):
    org_id: UUID
    key_id: UUID
    name: str
    scopes: list[str]
    restrictions: bytes


class KeyId(msgspec.Struct, frozen=True):
    id: UUID


ADD_ORGANIZATION = Command("""
    INSERT INTO gateway.organization (id, name, currency) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING
""")
ORGANIZATION = Query(Organization, "SELECT id, name, currency FROM gateway.organization WHERE name = $1")
ORGANIZATIONS = Query(Organization, "SELECT id, name, currency FROM gateway.organization ORDER BY name")
_SETTINGS = "SELECT id, name, currency, created_at, version FROM gateway.organization WHERE id = $1"
SETTINGS = Query(OrganizationSettings, _SETTINGS)
LOCKED_SETTINGS = Query(OrganizationSettings, _SETTINGS + " FOR UPDATE")
RENAME_ORGANIZATION = Command("UPDATE gateway.organization SET name = $2, version = version + 1 WHERE id = $1")

ADD_PROJECT = Command("INSERT INTO gateway.project (org_id, id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
PROJECT_NAMED = Query(
    Project,
    """
    SELECT id, name, created_at, archived_at, version FROM gateway.project WHERE org_id = $1 AND name = $2
    FOR SHARE  -- so that whoever archives it meanwhile finds the key that is made now
    """,
)
_PROJECT = "SELECT id, name, created_at, archived_at, version FROM gateway.project WHERE org_id = $1 AND id = $2"
PROJECT = Query(Project, _PROJECT)
LOCKED_PROJECT = Query(Project, _PROJECT + " FOR UPDATE")
PROJECTS = Query(
    Project,
    """
    SELECT id, name, created_at, archived_at, version FROM gateway.project
    WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
    """,
)
CHANGE_PROJECT = Command("""
    UPDATE gateway.project
    SET name = $3, archived_at = CASE WHEN $4 THEN coalesce(archived_at, billing.now()) END, version = version + 1
    WHERE org_id = $1 AND id = $2
""")
REVOKE_KEYS_OF_PROJECT = Command("""
    UPDATE gateway.api_key SET revoked_at = billing.now(), revoked_because = 'archived', version = version + 1
    WHERE org_id = $1 AND project_id = $2 AND revoked_at IS NULL
""")

ADD_KEY = Command("""
    INSERT INTO gateway.api_key (org_id, id, project_id, name, hash, hint, livemode, lenient, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, billing.now() + make_interval(days => $9::int))
""")
KEYS = Query(
    Key,
    """
    SELECT k.id, p.name AS project, k.name, k.hint, k.livemode, k.lenient, k.created_at, k.expires_at, k.revoked_at
    FROM gateway.api_key k LEFT JOIN gateway.project p ON p.org_id = k.org_id AND p.id = k.project_id
    WHERE k.org_id = $1 ORDER BY k.created_at, k.id
    """,
)
REVOKE_KEY = Command("""
    UPDATE gateway.api_key
    SET revoked_at = coalesce(revoked_at, billing.now()), revoked_because = coalesce(revoked_because, $3), version = version + 1
    WHERE org_id = $1 AND id = $2
""")
ADD_MANAGEMENT_KEY = Command("""
    INSERT INTO gateway.api_key (org_id, id, kind, name, hash, hint, livemode, scopes, restrictions, expires_at)
    VALUES ($1, $2, 'management', $3, $4, $5, true, $6, $7, billing.now() + make_interval(days => $8::int))
""")
MANAGER = Query(
    ManagerRow,
    """
    SELECT org_id, id AS key_id, name, scopes, restrictions FROM gateway.api_key
    WHERE (hash = $1 OR (previous_hash = $1 AND previous_until > billing.now())) AND kind = 'management'
      AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > billing.now())
    """,
)

VALID_KEYS = Query(
    KeyRow,
    """
    SELECT k.hash, k.org_id, k.project_id, k.id AS key_id, k.livemode, k.lenient, o.currency
    FROM gateway.api_key k JOIN gateway.organization o ON o.id = k.org_id
    WHERE k.hash = ANY($1::bytea[]) AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > billing.now())
    """,
)
STILL_VALID = Query(
    KeyId,
    """
    SELECT k.id FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    JOIN gateway.api_key k ON k.org_id = u.org_id AND k.id = u.id
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > billing.now())
    """,
)
