"""Prove the jobs against the ledger and against their own log: every job costs what it delivered, once."""

from billing.kit.query import Conn, Query
from billing.ledger.model import Finding

# Each of these returns no row when jobs and ledger agree. A hold has the id of its job and a row per account it draws on.
WRONG_HOLDS = Query(
    Finding,
    """
    SELECT 'job_has_its_hold' AS rule, j.id::text AS subject,
           'job holds ' || j.hold_micro || ', ledger ' || coalesce(h.amount::text, 'nothing') AS detail
    FROM gateway.job j
    LEFT JOIN (SELECT id, sum(amount) AS amount FROM billing.hold GROUP BY id) h ON h.id = j.id
    WHERE h.id IS NULL OR h.amount <> j.hold_micro LIMIT 100
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
           'job charged ' || j.charged_micro || ', ledger captured ' || h.captured AS detail
    FROM gateway.job j JOIN (SELECT id, sum(captured) AS captured FROM billing.hold GROUP BY id) h ON h.id = j.id
    WHERE h.captured <> j.charged_micro LIMIT 100
    """,
)
WRONG_CHARGES = Query(
    Finding,
    """
    SELECT 'charged_what_was_delivered' AS rule, id::text AS subject,
           'charged ' || charged_micro || ' for ' || delivered_ms || ' ms at ' || rate_micro_per_s
           || ' per s, at most ' || hold_micro AS detail
    FROM gateway.job
    WHERE state = 'succeeded'
      AND charged_micro <> least(div(delivered_ms * rate_micro_per_s::numeric, 1000), hold_micro) LIMIT 100
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
    WRONG_HOLDS, HOLDS_WITHOUT_JOB, WRONG_ENDS, WRONG_CAPTURES, WRONG_CHARGES, WRONG_LOGS, WRONG_ATTEMPTS, STRAYS,
)  # fmt: skip


async def verify_jobs(conn: Conn) -> list[Finding]:
    """Every job that disagrees with its hold, its log or its attempts (at most 100 per rule); empty when all agree.

    Run it in a REPEATABLE READ transaction, so that jobs and ledger are read as of one moment. An attempt counts as
    recorded only if `begin_attempt` ran in the transaction that leased the job.
    """
    findings: list[Finding] = []
    for rule in SOUND:
        findings += await rule.all(conn)
    return findings
