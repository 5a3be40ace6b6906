"""Every statement of access."""

from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from gateway.access.model import Key, Member, Membership, Organization, OrganizationSettings, Project


class KeyRow(msgspec.Struct, frozen=True):
    hash: bytes
    org_id: UUID
    project_id: UUID
    key_id: UUID
    livemode: bool
    lenient: bool
    labels: bytes
    end_user: str | None
    restrictions: bytes
    currency: str


class ManagerRow(msgspec.Struct, frozen=True):
    org_id: UUID
    key_id: UUID
    name: str
    scopes: list[str]
    restrictions: bytes


class Count(msgspec.Struct, frozen=True):
    count: int


class LeakedRow(msgspec.Struct, frozen=True):
    hash: bytes
    previous_hash: bytes | None
    org_id: UUID
    id: UUID
    name: str


class KeyId(msgspec.Struct, frozen=True):
    id: UUID


ADD_ORGANIZATION = Command("""
    INSERT INTO gateway.organization (id, name, currency) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING
""")
ORGANIZATION = Query(Organization, "SELECT id, name, currency FROM gateway.organization WHERE name = $1")
ORGANIZATIONS = Query(Organization, "SELECT id, name, currency FROM gateway.organization ORDER BY name")
_SETTINGS = "SELECT id, name, currency, created_at, version FROM gateway.organization WHERE id = $1"
SETTINGS = Query(OrganizationSettings, _SETTINGS)
LOCKED_SETTINGS = Query(OrganizationSettings, _SETTINGS + " FOR NO KEY UPDATE")
RENAME_ORGANIZATION = Command("UPDATE gateway.organization SET name = $2, version = version + 1 WHERE id = $1")

ADD_PROJECT = Command("""
    INSERT INTO gateway.project (org_id, id, name, prompt_days) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
""")
PROJECT_NAMED = Query(
    Project,
    """
    SELECT id, name, prompt_days::int, created_at, archived_at, version FROM gateway.project WHERE org_id = $1 AND name = $2
    FOR SHARE  -- so that whoever archives it meanwhile finds the key that is made now
    """,
)
PROJECT_WITH_ID = Query(
    Project,
    """
    SELECT id, name, prompt_days::int, created_at, archived_at, version FROM gateway.project WHERE org_id = $1 AND id = $2
    FOR SHARE
    """,
)
_PROJECT = (
    "SELECT id, name, prompt_days::int, created_at, archived_at, version FROM gateway.project WHERE org_id = $1 AND id = $2"
)
PROJECT = Query(Project, _PROJECT)
LOCKED_PROJECT = Query(Project, _PROJECT + " FOR NO KEY UPDATE")
PROJECTS = Query(
    Project,
    """
    SELECT id, name, prompt_days::int, created_at, archived_at, version FROM gateway.project
    WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
    """,
)
CHANGE_PROJECT = Command("""
    UPDATE gateway.project
    SET name = $3, archived_at = CASE WHEN $4 THEN coalesce(archived_at, billing.now()) END, prompt_days = $5,
        version = version + 1
    WHERE org_id = $1 AND id = $2
""")
REVOKE_KEYS_OF_PROJECT = Command("""
    UPDATE gateway.api_key SET revoked_at = billing.now(), revoked_because = 'archived', version = version + 1
    WHERE org_id = $1 AND project_id = $2 AND revoked_at IS NULL
""")

ADD_KEY = Command("""
    INSERT INTO gateway.api_key (org_id, id, kind, project_id, livemode, hash, hint, name, lenient, scopes, labels, end_user,
                                 restrictions, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
           coalesce($14::timestamptz, billing.now() + make_interval(days => $15::int))
    WHERE $14::timestamptz IS NULL OR $14 > billing.now()
""")
_KEY = """
    SELECT k.id, k.kind, k.project_id, p.name AS project, k.name, k.hint, k.livemode, k.lenient, k.scopes, k.labels, k.end_user,
           k.restrictions,
           CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= billing.now() THEN 'expired'
                ELSE 'valid' END AS state,
           k.created_at, k.expires_at, CASE WHEN k.previous_until > billing.now() THEN k.previous_until END AS previous_until,
           u.used_at, k.revoked_at, k.revoked_because, k.version
    FROM gateway.api_key k
    LEFT JOIN gateway.project p ON p.org_id = k.org_id AND p.id = k.project_id
    LEFT JOIN gateway.key_use u ON u.org_id = k.org_id AND u.key_id = k.id
    WHERE k.org_id = $1
"""
KEY = Query(Key, _KEY + "AND k.id = $2")
LOCKED_KEY = Query(Key, _KEY + "AND k.id = $2 FOR NO KEY UPDATE OF k")
KEYS = Query(
    Key,
    _KEY
    + """
      AND ($2::uuid IS NULL OR k.id < $2) AND ($3::uuid IS NULL OR k.project_id = $3) AND ($4::text IS NULL OR k.kind = $4)
    ORDER BY k.id DESC LIMIT $5
    """,
)
CHANGE_KEY = Command("""
    UPDATE gateway.api_key
    SET name = $3, lenient = $4, scopes = $5, labels = $6, end_user = $7, restrictions = $8, expires_at = $9,
        version = version + 1
    WHERE org_id = $1 AND id = $2
      AND ($9::timestamptz IS NULL OR $9 > billing.now() OR expires_at IS NOT DISTINCT FROM $9)
""")
ROTATE_KEY = Command("""
    UPDATE gateway.api_key
    SET previous_hash = CASE WHEN $5::int > 0 THEN hash END,
        previous_until = CASE WHEN $5::int > 0 THEN billing.now() + make_interval(secs => $5::int) END,
        hash = $3, hint = $4, version = version + 1
    WHERE org_id = $1 AND id = $2
""")
REVOKE_KEY = Command("""
    UPDATE gateway.api_key SET revoked_at = billing.now(), revoked_because = $3, version = version + 1
    WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL
""")
REVOKE_LEAKED = Query(
    LeakedRow,
    """
    UPDATE gateway.api_key SET revoked_at = billing.now(), revoked_because = 'leaked', version = version + 1
    WHERE (hash = ANY($1::bytea[]) OR previous_hash = ANY($1::bytea[])) AND revoked_at IS NULL
    RETURNING hash, previous_hash, org_id, id, name
    """,
)
NOTE_USES = Command("""
    INSERT INTO gateway.key_use AS u (org_id, key_id, used_at)
    SELECT org_id, key_id, billing.now() - make_interval(secs => age_s)
    FROM unnest($1::uuid[], $2::uuid[], $3::float8[]) AS given (org_id, key_id, age_s) ORDER BY org_id, key_id
    ON CONFLICT (org_id, key_id) DO UPDATE SET used_at = greatest(u.used_at, EXCLUDED.used_at)
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
    SELECT s.hash, k.org_id, k.project_id, k.id AS key_id, k.livemode, k.lenient, k.labels, k.end_user, k.restrictions, o.currency
    FROM (SELECT hash, org_id, id FROM gateway.api_key WHERE hash = ANY($1::bytea[]) AND revoked_at IS NULL
          UNION ALL
          SELECT previous_hash, org_id, id FROM gateway.api_key
          WHERE previous_hash = ANY($1::bytea[]) AND revoked_at IS NULL AND previous_until > billing.now()) s
    JOIN gateway.api_key k ON k.org_id = s.org_id AND k.id = s.id AND k.kind = 'inference'
    JOIN gateway.organization o ON o.id = k.org_id
    WHERE k.expires_at IS NULL OR k.expires_at > billing.now()
    """,
)
# Usually none, so usually no rows to decode. LIMIT makes it one look into the index for each, however many keys there are.
NO_LONGER_VALID = Query(
    KeyId,
    """
    SELECT u.id FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    LEFT JOIN LATERAL (
        SELECT k.id FROM gateway.api_key k
        WHERE k.org_id = u.org_id AND k.id = u.id AND k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > billing.now()) LIMIT 1
    ) k ON true
    WHERE k.id IS NULL
    """,
)

ADD_MEMBER = Command("INSERT INTO gateway.member (org_id, id, email, role) VALUES ($1, $2, $3, $4)")
_MEMBER = "SELECT id, email, role, created_at, version, person_id FROM gateway.member WHERE org_id = $1 "
MEMBER = Query(Member, _MEMBER + "AND id = $2")
MEMBER_WITH = Query(Member, _MEMBER + "AND email = $2 FOR NO KEY UPDATE")
MEMBERS = Query(Member, _MEMBER + "AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3")
JOIN_MEMBER = Query(
    Member,
    """
    INSERT INTO gateway.member AS m (org_id, id, email, role, person_id) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (org_id, email) DO UPDATE SET person_id = EXCLUDED.person_id, version = m.version + 1
    WHERE m.person_id IS NULL AND m.role = EXCLUDED.role
    RETURNING id, email, role, created_at, version, person_id
    """,
)
MEMBERSHIPS = Query(
    Membership,
    """
    SELECT m.org_id, o.name AS organization, m.id AS member_id, m.email, m.role
    FROM gateway.member m JOIN gateway.organization o ON o.id = m.org_id
    WHERE m.person_id = $1 AND ($2::uuid IS NULL OR m.org_id = $2) ORDER BY o.name
    """,
)
OWNERS = Query(Count, "SELECT count(*) FROM gateway.member WHERE org_id = $1 AND role = 'owner'")
CHANGE_ROLE = Command("UPDATE gateway.member SET role = $3, version = version + 1 WHERE org_id = $1 AND id = $2")
REMOVE_MEMBER = Command("DELETE FROM gateway.member WHERE org_id = $1 AND id = $2")
