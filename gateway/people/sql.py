"""Every statement of people."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from gateway.people.model import Invitation, Person, Session, SignedIn


class PaceRow(msgspec.Struct, frozen=True):
    subject: bytes
    failures: int
    wait_s: float


class ProviderRow(msgspec.Struct, frozen=True):
    issuer: str
    client_id: str
    client_secret: bytes
    created_at: datetime


class TripRow(msgspec.Struct, frozen=True):
    issuer: str
    nonce: str
    verifier: str
    now: datetime


class PersonId(msgspec.Struct, frozen=True):
    id: UUID


_PERSON = """
    SELECT id, email, password_hash, pending_secret AS pending, totp_secret AS totp, billing.now() AS now
    FROM gateway.person
"""
PERSON = Query(Person, _PERSON + "WHERE id = $1")
LOCKED_PERSON = Query(Person, _PERSON + "WHERE id = $1 FOR NO KEY UPDATE")
PERSON_OF = Query(Person, _PERSON + "WHERE email = $1")
PERSON_TO_RESET = Query(Person, _PERSON + "WHERE reset_hash = $1 AND reset_until > billing.now() FOR NO KEY UPDATE")
ADD_PERSON = Command("INSERT INTO gateway.person (id, email, password_hash) VALUES ($1, $2, $3) ON CONFLICT (email) DO NOTHING")
SET_PASSWORD = Command("""
    UPDATE gateway.person SET password_hash = $3, reset_hash = NULL, reset_until = NULL
    WHERE id = $1 AND password_hash IS NOT DISTINCT FROM $2
""")
OFFER_RESET = Command("""
    UPDATE gateway.person SET reset_hash = $2, reset_until = billing.now() + make_interval(secs => $3::int) WHERE id = $1
""")
SET_PENDING = Command("UPDATE gateway.person SET pending_secret = $2 WHERE id = $1 AND totp_secret IS NULL")
CONFIRM = Command("""
    UPDATE gateway.person SET totp_secret = pending_secret, pending_secret = NULL, totp_step = $2
    WHERE id = $1 AND totp_secret IS NULL AND pending_secret IS NOT NULL
""")
TAKE_STEP = Command("UPDATE gateway.person SET totp_step = $2 WHERE id = $1 AND totp_step < $2")
FORGET_FACTOR = Command("UPDATE gateway.person SET totp_secret = NULL, pending_secret = NULL WHERE id = $1")
ADD_RECOVERY_CODES = Command("INSERT INTO gateway.recovery_code (person_id, hash) SELECT $1, unnest($2::bytea[])")
TAKE_RECOVERY_CODE = Command("DELETE FROM gateway.recovery_code WHERE person_id = $1 AND hash = $2")
FORGET_RECOVERY_CODES = Command("DELETE FROM gateway.recovery_code WHERE person_id = $1")

ADD_SESSION = Command("""
    INSERT INTO gateway.session (person_id, id, hash, stage, org_id, address, agent, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, billing.now() + make_interval(secs => $8::int))
""")
SIGNED_IN = Query(
    SignedIn,
    """
    SELECT s.id, s.person_id, p.email, s.stage, s.org_id, s.seen_at < billing.now() - make_interval(secs => $3::int) AS unseen
    FROM gateway.session s JOIN gateway.person p ON p.id = s.person_id
    WHERE s.hash = $1 AND s.expires_at > billing.now() AND s.seen_at > billing.now() - make_interval(secs => $2::int)
    """,
)
SEEN = Command("UPDATE gateway.session SET seen_at = billing.now() WHERE person_id = $1 AND id = $2")
SESSIONS = Query(
    Session,
    """
    SELECT id, stage, org_id, address, agent, created_at, seen_at, expires_at FROM gateway.session
    WHERE person_id = $1 AND ($2::uuid IS NULL OR org_id = $2 OR (org_id IS NULL AND $4::boolean))
      AND expires_at > billing.now() AND seen_at > billing.now() - make_interval(secs => $3::int)
    ORDER BY id DESC
    """,
)
END_SESSION = Command("DELETE FROM gateway.session WHERE person_id = $1 AND id = $2 AND ($3::uuid IS NULL OR org_id = $3)")
END_SESSIONS = Command("""
    DELETE FROM gateway.session WHERE person_id = $1 AND ($2::uuid IS NULL OR org_id IS NULL OR org_id = $2)
""")

ADD_INVITATION = Command("""
    INSERT INTO gateway.invitation (org_id, id, email, role, hash, invited_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, billing.now() + make_interval(secs => $7::int))
""")
REVOKE_INVITATIONS_TO = Command("""
    UPDATE gateway.invitation SET revoked_at = billing.now()
    WHERE org_id = $1 AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL
""")
_INVITATION = """
    SELECT id, org_id, email, role,
           CASE WHEN accepted_at IS NOT NULL THEN 'accepted' WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN expires_at <= billing.now() THEN 'expired' ELSE 'open' END AS state,
           invited_by, created_at, expires_at, accepted_at, revoked_at
    FROM gateway.invitation
"""
INVITATION = Query(Invitation, _INVITATION + "WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE")
INVITATION_WITH = Query(
    Invitation,
    _INVITATION + """
    WHERE hash = $1 AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > billing.now() FOR NO KEY UPDATE
    """,
)  # fmt: skip
INVITATIONS = Query(Invitation, _INVITATION + "WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3")
ACCEPT_INVITATION = Command("UPDATE gateway.invitation SET accepted_at = billing.now() WHERE org_id = $1 AND id = $2")
REVOKE_INVITATION = Command("UPDATE gateway.invitation SET revoked_at = billing.now() WHERE org_id = $1 AND id = $2")

OPEN_PACE = Command("INSERT INTO gateway.sign_in_pace (subject) SELECT unnest($1::bytea[]) ON CONFLICT (subject) DO NOTHING")
PACE = Query(
    PaceRow,
    """
    SELECT subject, CASE WHEN last_at > billing.now() - make_interval(secs => $2::int) THEN failures ELSE 0 END AS failures,
           extract(epoch FROM open_at - billing.now())::float8 AS wait_s
    FROM gateway.sign_in_pace WHERE subject = ANY($1::bytea[]) ORDER BY subject FOR UPDATE
    """,
)
NOTE_FAILURES = Command("""
    UPDATE gateway.sign_in_pace p
    SET failures = u.failures, last_at = billing.now(), open_at = billing.now() + make_interval(secs => u.pause_s)
    FROM unnest($1::bytea[], $2::int[], $3::int[]) AS u (subject, failures, pause_s) WHERE p.subject = u.subject
""")
FORGIVE_ALL = Command("DELETE FROM gateway.sign_in_pace WHERE subject = $1")
FORGIVE_ONE = Command("UPDATE gateway.sign_in_pace SET failures = greatest(failures - 1, 0) WHERE subject = $1")

_PROVIDER = "SELECT issuer, client_id, client_secret, created_at FROM gateway.sign_in_provider WHERE org_id = $1"
PROVIDER = Query(ProviderRow, _PROVIDER)
LOCKED_PROVIDER = Query(ProviderRow, _PROVIDER + " FOR UPDATE")
SET_PROVIDER = Command("""
    INSERT INTO gateway.sign_in_provider (org_id, issuer, client_id, client_secret) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org_id) DO UPDATE
    SET issuer = EXCLUDED.issuer, client_id = EXCLUDED.client_id, client_secret = EXCLUDED.client_secret
""")
REMOVE_PROVIDER = Command("DELETE FROM gateway.sign_in_provider WHERE org_id = $1")
END_SESSIONS_BY_PROVIDER = Command("DELETE FROM gateway.session WHERE org_id = $1")
ADD_TRIP = Command("""
    INSERT INTO gateway.sign_in_trip (org_id, state_hash, browser_hash, issuer, nonce, verifier, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, billing.now() + make_interval(secs => $7::int))
""")
END_TRIP = Query(
    TripRow,
    """
    DELETE FROM gateway.sign_in_trip
    WHERE org_id = $1 AND state_hash = $2 AND browser_hash = $3 AND expires_at > billing.now()
    RETURNING issuer, nonce, verifier, billing.now() AS now
    """,
)
PERSON_WITH_SUBJECT = Query(
    PersonId, "SELECT person_id AS id FROM gateway.sign_in_subject WHERE org_id = $1 AND issuer = $2 AND subject = $3"
)
ADD_SUBJECT = Command("""
    INSERT INTO gateway.sign_in_subject (org_id, issuer, subject, person_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
""")

FORGET_SESSIONS = Command("""
    DELETE FROM gateway.session WHERE expires_at <= billing.now() OR seen_at <= billing.now() - make_interval(secs => $1::int)
""")
FORGET_INVITATIONS = Command("""
    DELETE FROM gateway.invitation WHERE expires_at <= billing.now() - make_interval(secs => $1::int)
""")
FORGET_PACES = Command("""
    DELETE FROM gateway.sign_in_pace WHERE last_at <= billing.now() - make_interval(secs => $1::int) AND open_at <= billing.now()
""")
FORGET_TRIPS = Command("DELETE FROM gateway.sign_in_trip WHERE expires_at <= billing.now()")
