"""Prove the jobs against the ledger and against their own log: every job costs what it delivered, once."""

from typing import LiteralString
from uuid import UUID

import msgspec

from billing.kit.query import Conn, Query
from billing.ledger.model import Finding
from billing.pricing.charge import charge
from billing.pricing.model import decode_terms

_PAGE, _FINDINGS_MAX = 5000, 100


class ChargedRow(msgspec.Struct, frozen=True):
    org_id: UUID
    id: UUID
    terms: bytes
    max_ms: int
    delivered_ms: int
    charged_ms: int
    charged_micro: int
    position: int


# Each of these returns no row when jobs and ledger agree. A hold has the id of its job and a row per account it draws on.
_PARTS: LiteralString = """
    SELECT h.id, min(h.state) AS state,
           coalesce(sum(h.amount) FILTER (WHERE a.asset LIKE 'SEC:%'), 0) AS held_ms,
           coalesce(sum(h.captured) FILTER (WHERE a.asset LIKE 'SEC:%'), 0) AS charged_ms,
           coalesce(sum(h.amount) FILTER (WHERE a.asset NOT LIKE 'SEC:%' AND g.kind <> 'budget'), 0) AS held_micro,
           coalesce(sum(h.captured) FILTER (WHERE a.asset NOT LIKE 'SEC:%' AND g.kind <> 'budget'), 0) AS charged_micro
    FROM billing.hold h JOIN billing.account a ON a.id = h.account_id JOIN billing.grant g ON g.account_id = h.account_id
    GROUP BY h.id
"""
WRONG_HOLDS = Query(
    Finding,
    """
    SELECT 'job_has_its_hold' AS rule, j.id::text AS subject,
           'job holds ' || j.hold_micro || ' and ' || j.hold_ms || ' ms, ledger '
           || coalesce(h.held_micro || ' and ' || h.held_ms || ' ms', 'nothing') AS detail
    FROM gateway.job j LEFT JOIN ("""
    + _PARTS
    + """) h ON h.id = j.id
    WHERE h.id IS NULL OR h.held_micro <> j.hold_micro OR h.held_ms <> j.hold_ms LIMIT 100
    """,
)
HOLDS_WITHOUT_JOB = Query(
    Finding,
    """
    SELECT 'hold_has_one_job' AS rule, h.id::text AS subject, count(j.id) || ' jobs' AS detail
    FROM (SELECT DISTINCT id FROM billing.hold) h LEFT JOIN gateway.job j ON j.id = h.id
    GROUP BY h.id HAVING count(j.id) <> 1 LIMIT 100
    """,
)
WRONG_ENDS = Query(
    Finding,
    """
    SELECT 'job_and_hold_end_together' AS rule, j.id::text AS subject,
           'job ' || j.state || ', hold ' || string_agg(DISTINCT h.state, ', ') AS detail
    FROM gateway.job j JOIN billing.hold h ON h.id = j.id
    WHERE h.state <> CASE WHEN j.state = 'succeeded' THEN 'captured'
                          WHEN j.state IN ('failed', 'cancelled', 'expired') THEN 'released' ELSE 'held' END
    GROUP BY j.org_id, j.id, j.state LIMIT 100
    """,
)
WRONG_CAPTURES = Query(
    Finding,
    """
    SELECT 'charged_is_captured' AS rule, j.id::text AS subject,
           'job charged ' || j.charged_micro || ' and ' || j.charged_ms || ' ms, ledger captured '
           || h.charged_micro || ' and ' || h.charged_ms || ' ms' AS detail
    FROM gateway.job j JOIN ("""
    + _PARTS
    + """) h ON h.id = j.id
    WHERE h.charged_micro <> j.charged_micro OR h.charged_ms <> j.charged_ms LIMIT 100
    """,
)
WRONG_RECORDS = Query(
    Finding,
    """
    SELECT 'job_has_its_usage_record' AS rule, j.id::text AS subject,
           'job ' || j.state || ' after ' || j.attempt || ' attempts delivered ' || coalesce(j.delivered_ms, 0)
           || ' ms for ' || j.charged_micro || ', ' || count(u.subject_id) || ' record(s) say '
           || coalesce(sum(u.delivered_ms), 0) || ' ms for ' || coalesce(sum(u.granted_micro + u.net_micro), 0) AS detail
    FROM gateway.job j
    LEFT JOIN (SELECT u.* FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id AND s.kind = 'charge') u
        ON u.subject_id = j.id
    WHERE j.finished_at IS NOT NULL
    GROUP BY j.org_id, j.id
    HAVING count(u.subject_id) <> (CASE WHEN j.attempt > 0 THEN 1 ELSE 0 END)
        OR coalesce(sum(u.delivered_ms), 0) <> coalesce(j.delivered_ms, 0)
        OR coalesce(sum(u.granted_micro + u.net_micro), 0) <> j.charged_micro LIMIT 100
    """,
)
# What each delivered job was charged from: `position` is where its part of the month's volume began.
CHARGED = Query(
    ChargedRow,
    """
    SELECT j.org_id, j.id, j.terms, j.max_ms, j.delivered_ms, j.charged_ms, j.charged_micro,
           (t.payload ->> 'position')::bigint AS position
    FROM gateway.job j JOIN billing.transfer t ON t.subject_id = j.id AND t.kind = 'capture'
    WHERE (j.org_id, j.id) > ($1::uuid, $2::uuid) AND j.state = 'succeeded' ORDER BY j.org_id, j.id LIMIT $3
    """,
)
WRONG_LOGS = Query(
    Finding,
    """
    SELECT 'log_is_gapless_and_ends_in_the_state' AS rule, j.id::text AS subject,
           'job ' || j.state || ' at ' || j.event_seq || ', log of ' || count(e.seq) || ' ends '
           || coalesce((array_agg(e.kind ORDER BY e.seq DESC))[1] || ' at ' || max(e.seq), 'nowhere') AS detail
    FROM gateway.job j LEFT JOIN gateway.job_event e ON e.org_id = j.org_id AND e.job_id = j.id
    GROUP BY j.org_id, j.id
    HAVING count(e.seq) <> j.event_seq OR min(e.seq) <> 1 OR max(e.seq) <> j.event_seq
        OR (array_agg(e.kind ORDER BY e.seq DESC))[1] IS DISTINCT FROM j.state LIMIT 100
    """,
)
WRONG_ATTEMPTS = Query(
    Finding,
    """
    SELECT 'attempts_are_numbered' AS rule, j.id::text AS subject,
           'attempt ' || j.attempt || ', recorded '
           || coalesce(string_agg(a.attempt::text, ', ' ORDER BY a.attempt), 'none') AS detail
    FROM gateway.job j LEFT JOIN gateway.attempt a ON a.org_id = j.org_id AND a.job_id = j.id
    GROUP BY j.org_id, j.id
    HAVING count(a.attempt) <> j.attempt OR min(a.attempt) <> 1 OR max(a.attempt) <> j.attempt LIMIT 100
    """,
)
STRAYS = Query(
    Finding,
    """
    SELECT 'log_has_its_job' AS rule, e.job_id::text AS subject, 'event ' || e.seq AS detail
    FROM gateway.job_event e LEFT JOIN gateway.job j ON j.org_id = e.org_id AND j.id = e.job_id WHERE j.id IS NULL
    UNION ALL
    SELECT 'attempt_has_its_job', a.job_id::text, 'attempt ' || a.attempt
    FROM gateway.attempt a LEFT JOIN gateway.job j ON j.org_id = a.org_id AND j.id = a.job_id WHERE j.id IS NULL
    LIMIT 100
    """,
)
SOUND: tuple[Query[Finding], ...] = (
    WRONG_HOLDS, HOLDS_WITHOUT_JOB, WRONG_ENDS, WRONG_CAPTURES, WRONG_RECORDS, WRONG_LOGS, WRONG_ATTEMPTS, STRAYS,
)  # fmt: skip


async def verify_jobs(conn: Conn) -> list[Finding]:
    """Every job that disagrees with its hold, its log or its attempts (at most 100 per rule); empty when all agree.

    Run it in a REPEATABLE READ transaction, so that jobs and ledger are read as of one moment. An attempt counts as
    recorded only if `begin_attempt` ran in the transaction that leased the job.
    """
    findings: list[Finding] = []
    for rule in SOUND:
        findings += await rule.all(conn)
    return findings + await _wrong_charges(conn)


async def _wrong_charges(conn: Conn) -> list[Finding]:
    """Every charge is worked out again, from the frozen terms and what was delivered."""
    findings: list[Finding] = []
    last = (UUID(int=0), UUID(int=0))
    while rows := await CHARGED.all(conn, *last, _PAGE):
        for row in rows:
            due_micro = charge(decode_terms(row.terms), min(row.delivered_ms, row.max_ms), row.position, row.charged_ms)
            if due_micro != row.charged_micro:
                detail = f"charged {row.charged_micro} for {row.delivered_ms} ms, the terms say {due_micro}"
                findings.append(Finding("charged_what_was_delivered", str(row.id), detail))
        last = rows[-1].org_id, rows[-1].id
    return findings[:_FINDINGS_MAX]
