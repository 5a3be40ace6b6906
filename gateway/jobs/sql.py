"""Every statement about jobs. Each change of state names the states it may start from and writes the log in one statement."""

from typing import LiteralString

from billing.kit.query import Command, Query
from gateway.jobs.model import (
    Changed,
    Created,
    Ending,
    Enqueued,
    EventRow,
    JobRef,
    JobRow,
    Lease,
    Locked,
    Lost,
    Number,
    StateCount,
    Stored,
)

_JOB: LiteralString = """
           j.org_id, j.id, j.project_id, j.livemode, j.dialect, j.state, j.terms, j.max_ms, j.hold_ms,
           j.hold_micro, j.created_at, j.promised_start_at, j.started_at, j.finished_at, j.attempt, j.frames_done,
           j.frames_total, j.frames, j.delivered_ms, j.charged_ms,
           j.charged_micro, j.credited_micro, j.error_code, j.error_message, j.assets_expire_at, j.assets_deleted_at,
           j.event_seq, j.request, j.artifacts
"""

LOCK_TOKENS = Query(
    Locked,
    """
    SELECT n::int, pg_try_advisory_xact_lock(hashtextextended(token, 0)) AS locked
    FROM unnest($1::text[]) WITH ORDINALITY AS u (token, n)
    """,
)
STORED_ANSWERS = Query(
    Stored,
    """
    SELECT i.org_id, i.project_id, i.livemode, i.route, i.token, i.fingerprint, i.job_id, i.status, i.body
    FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::text[], $5::text[]) AS u (org_id, project_id, livemode, route, token)
    JOIN gateway.idempotency i USING (org_id, project_id, livemode, route, token)
    """,
)
REMEMBER = Command("""
    INSERT INTO gateway.idempotency (org_id, project_id, livemode, route, token, fingerprint, job_id, status, body)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::text[], $5::text[], $6::bytea[], $7::uuid[],
                         $8::smallint[], $9::bytea[])
    ON CONFLICT DO NOTHING
""")

# What many jobs of a batch have in common comes once: `kind` is its place in the arrays from $14 on.
INSERT_JOBS = Query(
    Enqueued,
    """
    WITH clock AS MATERIALIZED (SELECT billing.now() AS now), added AS (
        INSERT INTO gateway.job (org_id, id, project_id, key_id, livemode, dialect, model, tier, request, fingerprint, terms,
                                 max_ms, hold_ms, hold_micro, frames_total, quota_counters, created_at, queue_deadline_at,
                                 available_at, promised_start_at)
        SELECT org_id, id, project_id, key_id, livemode, ($14::text[])[kind], ($15::text[])[kind], ($16::text[])[kind], request,
               fingerprint, ($20::jsonb[])[kind], ($19::int[])[kind], hold_ms, hold_micro, ($17::int[])[kind],
               quota_counters::bigint[], now, greatest(starts_at, now) + make_interval(secs => ($18::int[])[kind]),
               coalesce(starts_at, now), now + make_interval(secs => promise_s)
        FROM clock,
             unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::boolean[], $6::jsonb[], $7::bytea[], $8::int[],
                    $9::bigint[], $10::timestamptz[], $11::text[], $12::float8[], $13::int[])
             AS u (org_id, id, project_id, key_id, livemode, request, fingerprint, hold_ms, hold_micro, starts_at,
                   quota_counters, promise_s, kind)
        ON CONFLICT (org_id, id) DO NOTHING
        RETURNING org_id, id, created_at
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, created_at)
        SELECT org_id, id, 1, 'queued', created_at FROM added
    ), woken AS (SELECT pg_notify('tallylight_queue', ''))
    SELECT (SELECT count(*)::int FROM added) AS jobs, now AS created_at FROM clock, woken
    """,
)
CREATED = Query(
    Created,
    """
    SELECT j.id, j.created_at, j.promised_start_at FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    JOIN gateway.job j USING (org_id, id)
    """,
)

# A Stainless client repeats a POST without any id of its own but counts its tries: try n may take over a job that the
# same key created with the same contents in the last two minutes and that fewer than n tries have claimed ($6: who
# claims, so that a flush that is sent again meets its own claim).
CLAIM_RETRIED = Query(
    JobRow,
    """
    UPDATE gateway.job j SET replays = $5, claimed_by = $6
    FROM (SELECT org_id, id FROM gateway.job
          WHERE org_id = $1 AND key_id = $2 AND fingerprint = $3 AND dialect = $4
            AND (replays < $5 OR claimed_by = $6) AND created_at > billing.now() - interval '2 minutes'
          ORDER BY claimed_by IS NOT DISTINCT FROM $6 DESC, created_at LIMIT 1 FOR UPDATE) c
    WHERE j.org_id = c.org_id AND j.id = c.id
    RETURNING """
    + _JOB
    + """
    """,
)

# LIMIT makes it one look into the index for each.
READ = Query(
    JobRow,
    """
    SELECT """
    + _JOB
    + """
    FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    JOIN LATERAL (SELECT * FROM gateway.job WHERE org_id = u.org_id AND id = u.id AND deleted_at IS NULL LIMIT 1) j ON true
    """,
)
LIST = Query(
    JobRow,
    """
    SELECT """
    + _JOB
    + """
    FROM gateway.job j
    WHERE j.org_id = $1 AND j.project_id = $2 AND j.livemode = $3 AND j.deleted_at IS NULL
      AND ($4::uuid IS NULL OR CASE WHEN $5 THEN j.id > $4 ELSE j.id < $4 END)
      AND ($6::text[] IS NULL OR j.state = ANY($6)) AND ($7::text IS NULL OR j.model = $7)
      AND ($8::text IS NULL OR j.tier = $8) AND ($9::uuid[] IS NULL OR j.id = ANY($9))
    ORDER BY CASE WHEN $5 THEN j.id END ASC, CASE WHEN NOT $5 THEN j.id END DESC
    LIMIT $10 OFFSET $11
    """,
)
COUNT = Query(
    Number,
    """
    SELECT count(*)::int AS n FROM gateway.job j
    WHERE j.org_id = $1 AND j.project_id = $2 AND j.livemode = $3 AND j.deleted_at IS NULL
      AND ($4::text[] IS NULL OR j.state = ANY($4)) AND ($5::text IS NULL OR j.model = $5)
      AND ($6::text IS NULL OR j.tier = $6) AND ($7::uuid[] IS NULL OR j.id = ANY($7))
    """,
)
EVENTS = Query(
    EventRow,
    """
    SELECT e.org_id, e.job_id, e.seq, e.kind, e.data, e.created_at
    FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS u (org_id, job_id, after)
    JOIN gateway.job_event e ON e.org_id = u.org_id AND e.job_id = u.job_id AND e.seq > u.after
    ORDER BY e.org_id, e.job_id, e.seq
    """,
)

# -- what a client may do ----------------------------------------------------------------------------------------------
CANCEL = Query(
    Changed,
    """
    WITH changed AS (
        UPDATE gateway.job SET
            state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END,
            finished_at = CASE state WHEN 'queued' THEN billing.now() END,
            error_code = CASE state WHEN 'queued' THEN 'cancelled' END,
            error_message = CASE state WHEN 'queued' THEN 'Cancelled before it started; nothing was charged.' END,
            assets_expire_at = CASE WHEN state = 'queued' AND (request ? 'inputs' OR attempt > 0) THEN billing.now() END,
            event_seq = event_seq + 1
        WHERE org_id = $1 AND id = $2 AND state IN ('queued', 'running')
        RETURNING org_id, id, state, event_seq
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind) SELECT org_id, id, event_seq, state FROM changed
    ), told AS (SELECT pg_notify('tallylight_cancel', org_id || ' ' || id) FROM changed)
    SELECT org_id, id, state FROM changed LEFT JOIN told ON true
    """,
)
DELETE = Query(
    JobRef,
    """
    UPDATE gateway.job SET deleted_at = billing.now(), assets_expire_at = billing.now()
    WHERE org_id = $1 AND id = $2 AND finished_at IS NOT NULL AND deleted_at IS NULL RETURNING org_id, id
    """,
)

# -- what the dispatcher does ------------------------------------------------------------------------------------------
# Those of the given jobs that still wait. One that somebody else holds locked at this moment is left out: ask again.
LEASE = Query(
    Lease,
    """
    WITH next AS (
        SELECT j.org_id, j.id FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id) JOIN gateway.job j USING (org_id, id)
        WHERE j.state = 'queued' AND j.available_at <= billing.now() FOR UPDATE OF j SKIP LOCKED
    ), leased AS (
        UPDATE gateway.job j SET state = 'running', attempt = j.attempt + 1, lease_owner = $3,
            lease_expires_at = billing.now() + make_interval(secs => $4), frames_done = 0,
            started_at = coalesce(j.started_at, billing.now()), event_seq = j.event_seq + 1
        FROM next n WHERE j.org_id = n.org_id AND j.id = n.id
        RETURNING j.*
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, data)
        SELECT org_id, id, event_seq, 'running', jsonb_build_object('attempt', attempt) FROM leased
    ), told AS (SELECT pg_notify('tallylight_events', '') FROM (SELECT 1 FROM leased LIMIT 1) any_)
    SELECT org_id, id, attempt, livemode, request, $5::int AS retention_s,
           extract(epoch FROM billing.now() - created_at)::float8 AS waited_s, failures
    FROM leased, told
    """,
)
BEGIN_ATTEMPTS = Command("""
    INSERT INTO gateway.attempt (org_id, job_id, attempt, replica, owner, accelerator, price_micro_usd_per_hour)
    SELECT org_id, job_id, attempt, replica, $5, accelerator, price
    FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $6::text[], $7::bigint[])
        AS u (org_id, job_id, attempt, replica, accelerator, price)
""")
HEARTBEAT = Query(
    Changed,
    """
    WITH beat AS (
        UPDATE gateway.job j SET lease_expires_at = billing.now() + make_interval(secs => $6), frames_done = u.frames_done
        FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::int[]) AS u (org_id, id, attempt, frames_done)
        WHERE j.org_id = u.org_id AND j.id = u.id AND j.attempt = u.attempt AND j.lease_owner = $5
        RETURNING j.org_id, j.id, j.state
    ), told AS (SELECT pg_notify('tallylight_events', '') FROM (SELECT 1 FROM beat LIMIT 1) any_)
    SELECT org_id, id, state FROM beat, told
    """,
)
# What a charge and its record need to know of jobs, and every attempt there was. Locks the jobs: what is true now stays true
# until they are ended.
ENDING = Query(
    Ending,
    """
    SELECT j.org_id, j.id, j.attempt, j.lease_owner, j.state, j.project_id, j.key_id, j.livemode, j.model, j.tier, j.request,
           j.terms, j.max_ms, j.quota_counters IS NOT NULL AS counted,
           (extract(epoch FROM j.started_at - j.created_at) * 1000)::bigint AS queue_ms,
           tries.numbers, tries.chips, tries.outcomes, tries.device_ms, tries.prices
    FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id)
    JOIN gateway.job j ON j.org_id = u.org_id AND j.id = u.id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(a.attempt::int ORDER BY a.attempt), '{}') AS numbers,
               coalesce(array_agg(a.accelerator ORDER BY a.attempt), '{}') AS chips,
               coalesce(array_agg(coalesce(a.outcome, '') ORDER BY a.attempt), '{}') AS outcomes,
               coalesce(array_agg(coalesce(a.device_ms, 0) ORDER BY a.attempt), '{}') AS device_ms,
               coalesce(array_agg(coalesce(a.price_micro_usd_per_hour, 0) ORDER BY a.attempt), '{}') AS prices
        FROM gateway.attempt a WHERE a.org_id = j.org_id AND a.job_id = j.id
    ) tries
    ORDER BY j.org_id, j.id FOR UPDATE OF j
    """,
)
SUCCEED = Command("""
    WITH ended AS (
        UPDATE gateway.job j SET state = 'succeeded', finished_at = billing.now(),
            lease_owner = NULL, lease_expires_at = NULL, frames_done = u.frames, frames = u.frames,
            delivered_ms = u.delivered_ms, charged_ms = u.charged_ms, charged_micro = u.charged_micro,
            artifacts = u.artifacts, assets_expire_at = billing.now() + make_interval(secs => u.retention_s),
            event_seq = j.event_seq + 1
        FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::int[], $5::int[], $6::bigint[], $7::jsonb[], $8::int[], $9::int[])
             AS u (org_id, id, frames, delivered_ms, charged_ms, charged_micro, artifacts, retention_s, device_ms)
        WHERE j.org_id = u.org_id AND j.id = u.id
        RETURNING j.org_id, j.id, j.attempt, j.event_seq, j.delivered_ms, j.charged_ms, j.charged_micro,
                  j.terms ->> 'currency' AS currency, u.device_ms
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, data)
        SELECT org_id, id, event_seq, 'succeeded',
               jsonb_build_object('delivered_ms', delivered_ms, 'charged_seconds_ms', charged_ms, 'charged_micro', charged_micro,
                                  'currency', currency)
        FROM ended
    ), closed AS (
        UPDATE gateway.attempt a SET ended_at = billing.now(), outcome = 'succeeded', device_ms = e.device_ms
        FROM ended e WHERE a.org_id = e.org_id AND a.job_id = e.id AND a.attempt = e.attempt
    )
    SELECT pg_notify('tallylight_events', '') FROM (SELECT 1 FROM ended LIMIT 1) any_
""")
# An attempt that did not deliver: back to the queue ('queued'), or the end ('failed'); a cancelling job is cancelled either way.
# $10 is 1 if the attempt counts against the job, 0 if the job is only handed back; $11 is the device's time.
GIVE_UP = Query(
    Changed,
    """
    WITH ended AS (
        UPDATE gateway.job j SET
            state = CASE WHEN j.state = 'cancelling' THEN 'cancelled' ELSE $5::text END,
            finished_at = CASE WHEN j.state = 'cancelling' OR $5 = 'failed' THEN billing.now() END,
            error_code = CASE WHEN j.state = 'cancelling' THEN 'cancelled' WHEN $5 = 'failed' THEN $6::text END,
            error_message = CASE WHEN j.state = 'cancelling' THEN 'Cancelled while running; nothing was charged.'
                                 WHEN $5 = 'failed' THEN $7::text END,
            assets_expire_at = CASE WHEN j.state = 'cancelling' OR $5 = 'failed' THEN billing.now() END,
            available_at = billing.now() + make_interval(secs => $8), failures = j.failures + $10::smallint,
            queued_xid = pg_current_xact_id(),
            frames_done = 0, lease_owner = NULL, lease_expires_at = NULL, event_seq = j.event_seq + 1
        WHERE j.org_id = $1 AND j.id = $2 AND j.attempt = $3 AND j.lease_owner = $4 AND j.state IN ('running', 'cancelling')
        RETURNING j.org_id, j.id, j.state, j.attempt, j.event_seq, j.error_code, j.error_message
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, data)
        SELECT org_id, id, event_seq, state, jsonb_strip_nulls(jsonb_build_object('code', error_code, 'message', error_message))
        FROM ended
    ), closed AS (
        UPDATE gateway.attempt a SET ended_at = billing.now(), code = $6, message = $9, device_ms = $11::int,
            outcome = CASE WHEN e.state = 'cancelled' THEN 'cancelled' WHEN $10 = 0 THEN 'returned' ELSE 'failed' END
        FROM ended e WHERE a.org_id = e.org_id AND a.job_id = e.id AND a.attempt = e.attempt
    ), told AS (
        SELECT pg_notify('tallylight_events', ''), pg_notify('tallylight_queue', '') FROM (SELECT 1 FROM ended LIMIT 1) any_)
    SELECT org_id, id, state FROM ended, told
    """,
)
# -- what the clerk does -----------------------------------------------------------------------------------------------
# A lease that ran out: its owner is gone. The fence keeps a late owner from writing: the next lease raises the attempt number.
RESCUE = Query(
    Lost,
    """
    WITH lost AS (
        SELECT org_id, id FROM gateway.job
        WHERE state IN ('running', 'cancelling') AND lease_expires_at < billing.now()
        ORDER BY lease_expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE gateway.job j SET
            state = CASE WHEN j.state = 'cancelling' THEN 'cancelled' WHEN j.failures + 1 >= $1 THEN 'failed' ELSE 'queued' END,
            finished_at = CASE WHEN j.state = 'cancelling' OR j.failures + 1 >= $1 THEN billing.now() END,
            error_code = CASE WHEN j.state = 'cancelling' THEN 'cancelled' WHEN j.failures + 1 >= $1 THEN 'backend_lost' END,
            error_message = CASE WHEN j.state = 'cancelling' THEN 'Cancelled while running; nothing was charged.'
                                 WHEN j.failures + 1 >= $1 THEN 'The generation was lost several times; nothing was charged.' END,
            assets_expire_at = CASE WHEN j.state = 'cancelling' OR j.failures + 1 >= $1 THEN billing.now() END,
            failures = j.failures + 1, queued_xid = pg_current_xact_id(), frames_done = 0, lease_owner = NULL,
            lease_expires_at = NULL, event_seq = j.event_seq + 1
        FROM lost l WHERE j.org_id = l.org_id AND j.id = l.id
        RETURNING j.org_id, j.id, j.state, j.model, j.attempt, j.event_seq, j.error_code, j.error_message
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, data)
        SELECT org_id, id, event_seq, state, jsonb_strip_nulls(jsonb_build_object('code', error_code, 'message', error_message))
        FROM ended
    ), closed AS (
        UPDATE gateway.attempt a SET ended_at = billing.now(), outcome = 'lost', code = 'lease_expired',
            device_ms = least(extract(epoch FROM billing.now() - a.started_at) * 1000, 2147483647)::int
        FROM ended e WHERE a.org_id = e.org_id AND a.job_id = e.id AND a.attempt = e.attempt AND a.outcome IS NULL
        RETURNING a.org_id, a.job_id, a.accelerator, a.device_ms, a.price_micro_usd_per_hour
    ), told AS (
        SELECT pg_notify('tallylight_events', ''), pg_notify('tallylight_queue', '') FROM (SELECT 1 FROM ended LIMIT 1) any_)
    SELECT e.org_id, e.id, e.state, e.model, coalesce(c.accelerator, '') AS accelerator, coalesce(c.device_ms, 0) AS device_ms,
           c.price_micro_usd_per_hour
    FROM ended e LEFT JOIN closed c ON c.org_id = e.org_id AND c.job_id = e.id, told
    """,
)
EXPIRE = Query(
    Changed,
    """
    WITH late AS (
        SELECT org_id, id FROM gateway.job WHERE state = 'queued' AND queue_deadline_at < billing.now()
        ORDER BY queue_deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE gateway.job j SET state = 'expired', finished_at = billing.now(), error_code = 'queue_deadline',
            error_message = 'Not started before its deadline; nothing was charged.',
            assets_expire_at = CASE WHEN j.request ? 'inputs' OR j.attempt > 0 THEN billing.now() END,
            event_seq = j.event_seq + 1
        FROM late l WHERE j.org_id = l.org_id AND j.id = l.id
        RETURNING j.org_id, j.id, j.state, j.event_seq, j.error_code, j.error_message
    ), logged AS (
        INSERT INTO gateway.job_event (org_id, job_id, seq, kind, data)
        SELECT org_id, id, event_seq, state, jsonb_build_object('code', error_code, 'message', error_message) FROM ended
    ), told AS (SELECT pg_notify('tallylight_events', '') FROM (SELECT 1 FROM ended LIMIT 1) any_)
    SELECT org_id, id, state FROM ended, told
    """,
)
EXPIRED_ASSETS = Query(
    JobRef,
    """
    SELECT org_id, id FROM gateway.job WHERE assets_expire_at < billing.now() AND assets_deleted_at IS NULL
    ORDER BY assets_expire_at LIMIT $1
    """,
)
FORGET_ASSETS = Command("""
    UPDATE gateway.job SET assets_deleted_at = billing.now() WHERE org_id = $1 AND id = $2 AND assets_deleted_at IS NULL
""")
FORGET_PROMPTS = Command("""
    UPDATE gateway.job j
    SET request = (j.request - 'negative_prompt') || '{"prompt": ""}', prompt_forgotten_at = billing.now()
    FROM (
        SELECT d.org_id, d.id FROM gateway.job d JOIN gateway.project p ON p.org_id = d.org_id AND p.id = d.project_id
        WHERE d.finished_at <= billing.now() - p.prompt_days * interval '1 day' AND d.prompt_forgotten_at IS NULL
        ORDER BY d.finished_at LIMIT $1 FOR UPDATE OF d SKIP LOCKED
    ) due WHERE j.org_id = due.org_id AND j.id = due.id
""")
FORGET_ANSWERS = Command("""
    DELETE FROM gateway.idempotency WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM gateway.idempotency WHERE created_at < billing.now() - interval '48 hours' LIMIT $1))
""")
LIVE = Query(
    StateCount,
    "SELECT state, count(*)::int AS n FROM gateway.job WHERE state IN ('queued', 'running', 'cancelling') GROUP BY state",
)
