"""Every statement about webhooks."""

from typing import LiteralString

from billing.kit.query import Command, Query
from gateway.webhooks.model import Alone, Claimed, Delivery, Endpoint, Posted, Reading, Try

_ENDPOINT: LiteralString = """
           e.org_id, e.id, e.livemode, e.kind, e.url, e.form, e.events, e.description, e.generation, e.rotated_at, e.old_until,
           coalesce(e.old_until > billing.now(), false) AS old_valid, e.failing_since, e.disabled_at, e.disabled_reason,
           e.created_at, e.version
"""
_DELIVERY: LiteralString = """
           d.org_id, d.id, d.endpoint_id, d.event, d.form, d.job_id, d.data, d.url, d.happened_at, d.created_at, d.state,
           d.tries::int, d.due_at, d.ended_at
"""

# -- endpoints ---------------------------------------------------------------------------------------------------------
LOCK_ENDPOINTS = Command("SELECT pg_advisory_xact_lock(hashtextextended('webhooks/' || $1::uuid, 0))")
ADD_ENDPOINT = Query(
    Endpoint,
    """
    INSERT INTO gateway.webhook_endpoint AS e (org_id, id, livemode, kind, url, form, events, description)
    SELECT $1, $2::uuid, $3, $4, $5::text, $6, $7::text[], $8
    WHERE (SELECT count(*) FROM gateway.webhook_endpoint WHERE org_id = $1 AND kind <> 'callbacks') < $9
    RETURNING """
    + _ENDPOINT
    + """
    """,
)
# The row that stands for the addresses which requests name themselves; made when it is first needed.
ADD_CALLBACKS = Command("""
    INSERT INTO gateway.webhook_endpoint (org_id, id, livemode, kind, form)
    VALUES ($1, gateway.webhook_callbacks_id($1, $2), $2, 'callbacks', 'native') ON CONFLICT DO NOTHING
""")
CALLBACKS = Query(
    Endpoint,
    """
    SELECT """
    + _ENDPOINT
    + """
    FROM gateway.webhook_endpoint e WHERE org_id = $1 AND id = gateway.webhook_callbacks_id($1, $2)
    """,
)
ENDPOINT = Query(
    Endpoint,
    """
    SELECT """
    + _ENDPOINT
    + """
    FROM gateway.webhook_endpoint e WHERE org_id = $1 AND id = $2
    """,
)
LOCKED_ENDPOINT = Query(
    Endpoint,
    """
    SELECT """
    + _ENDPOINT
    + """
    FROM gateway.webhook_endpoint e WHERE org_id = $1 AND id = $2 FOR UPDATE
    """,
)
ENDPOINTS = Query(
    Endpoint,
    """
    SELECT """
    + _ENDPOINT
    + """
    FROM gateway.webhook_endpoint e WHERE org_id = $1 AND kind <> 'callbacks' ORDER BY id DESC
    """,
)
# $7: NULL leaves it as it is, true enables, false disables.
CHANGE_ENDPOINT = Query(
    Endpoint,
    """
    UPDATE gateway.webhook_endpoint e SET
        url = coalesce($3, url), form = coalesce($4, form), events = coalesce($5::text[], events),
        description = coalesce($6, description),
        disabled_at = CASE WHEN $7 THEN NULL WHEN NOT $7 THEN coalesce(disabled_at, billing.now()) ELSE disabled_at END,
        disabled_reason = CASE WHEN $7 THEN NULL WHEN NOT $7 THEN coalesce(disabled_reason, 'disabled by its owner')
                               ELSE disabled_reason END,
        failing_since = CASE WHEN $7 THEN NULL ELSE failing_since END, version = version + 1
    WHERE org_id = $1 AND id = $2
    RETURNING """
    + _ENDPOINT
    + """
    """,
)
ROTATE = Query(
    Endpoint,
    """
    UPDATE gateway.webhook_endpoint e SET generation = generation + 1, rotated_at = billing.now(), version = version + 1,
        old_until = billing.now() + make_interval(secs => $3)
    WHERE org_id = $1 AND id = $2
    RETURNING """
    + _ENDPOINT
    + """
    """,
)
REMOVE_ENDPOINT = Command("""
    WITH log AS (DELETE FROM gateway.webhook_delivery WHERE org_id = $1 AND endpoint_id = $2)
    DELETE FROM gateway.webhook_endpoint WHERE org_id = $1 AND id = $2
""")

# -- from what happened to what is to be told --------------------------------------------------------------------------
# Restored into another cluster, the lines since shortly before the mark was moved last count as written now; what was told of
# them meets its own rows. No transaction writes for minutes (billing/kit/pool.py).
ANOTHER_CLUSTER = Command("""
    UPDATE gateway.webhook_mark m
    SET cluster = c.system_identifier, jobs = (pg_current_xact_id()::text::bigint - 1)::text::xid8
    FROM pg_control_system() c WHERE m.cluster <> c.system_identifier
""")
WRITTEN_NOW = Command("""
    UPDATE gateway.job_event SET xid = pg_current_xact_id()
    WHERE created_at > (SELECT moved_at - interval '10 minutes' FROM gateway.webhook_mark)
""")
# One statement, so one snapshot: a transaction before its xmin has ended, so its lines are all here or will never be. WITH
# TIES keeps those of one transaction together, because the mark can only stand between transactions. The week: ids of a former
# cluster that this one comes to by and by are of lines older than that, or they meet their own rows.
POST_JOBS = Query(
    Posted,
    """
    WITH span AS MATERIALIZED (SELECT jobs AS low, pg_snapshot_xmin(pg_current_snapshot()) AS high FROM gateway.webhook_mark),
    told AS MATERIALIZED (
        SELECT v.xid, v.org_id, v.job_id, v.seq, v.kind, v.created_at, 'job.' || v.kind AS event
        FROM gateway.job_event v
        WHERE v.xid > (SELECT low FROM span) AND v.xid < (SELECT high FROM span)
          AND v.created_at > billing.now() - interval '7 days'
        ORDER BY v.xid FETCH FIRST ($1::int) ROWS WITH TIES
    ), wanted AS (
        SELECT t.*, j.livemode, e.id AS endpoint_id, e.form, NULL::text AS url
        FROM told t
        JOIN gateway.job j ON j.org_id = t.org_id AND j.id = t.job_id
        JOIN gateway.webhook_endpoint e ON e.org_id = t.org_id AND e.livemode = j.livemode
        WHERE e.kind <> 'callbacks' AND e.disabled_at IS NULL AND t.created_at >= e.created_at
          AND (e.events = '{}' OR t.event = ANY (e.events))
        UNION ALL
        SELECT t.*, j.livemode, gateway.webhook_callbacks_id(j.org_id, j.livemode),
               CASE WHEN j.dialect IN ('openai', 'ark') THEN j.dialect ELSE 'native' END, j.request ->> 'callback_url'
        FROM told t
        JOIN gateway.job j ON j.org_id = t.org_id AND j.id = t.job_id AND j.request ? 'callback_url'
        LEFT JOIN gateway.webhook_endpoint e ON e.org_id = j.org_id AND e.id = gateway.webhook_callbacks_id(j.org_id, j.livemode)
        WHERE e.disabled_at IS NULL
    ), stood_for AS (
        INSERT INTO gateway.webhook_endpoint (org_id, id, livemode, kind, form)
        SELECT DISTINCT org_id, endpoint_id, livemode, 'callbacks', 'native' FROM wanted WHERE url IS NOT NULL
        ON CONFLICT DO NOTHING
    ), posted AS (
        INSERT INTO gateway.webhook_delivery (org_id, id, endpoint_id, event, form, job_id, url, happened_at)
        SELECT org_id, md5(endpoint_id || '/' || job_id || '/' || seq)::uuid, endpoint_id, event, form, job_id, url, created_at
        FROM wanted
        WHERE (form = 'native' OR kind <> 'cancelling') AND (form <> 'openai' OR kind NOT IN ('queued', 'running'))
        ON CONFLICT (org_id, id) DO NOTHING
        RETURNING id
    ), moved AS (
        UPDATE gateway.webhook_mark SET jobs = (SELECT max(xid) FROM told), moved_at = billing.now()
        WHERE EXISTS (SELECT FROM told)
    ), rung AS (SELECT pg_notify('tallylight_events', '') FROM (SELECT FROM posted LIMIT 1) any_)
    SELECT (SELECT count(*) FROM told)::int AS taken, (SELECT count(*) FROM posted)::int AS posted
    FROM (SELECT) one LEFT JOIN rung ON true
    """,
)
BILLING_READ = Query(Reading, "SELECT billing AS position FROM gateway.webhook_mark")
BILLING_TAKEN = Command("UPDATE gateway.webhook_mark SET billing = $1")
POST_BILLING = Query(
    Posted,
    """
    WITH posted AS (
        INSERT INTO gateway.webhook_delivery (org_id, id, endpoint_id, event, form, data, happened_at)
        SELECT e.org_id, md5(e.id || '/' || u.id)::uuid, e.id, u.event, e.form, u.data, u.at
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::timestamptz[]) AS u (id, org_id, event, data, at)
        JOIN gateway.webhook_endpoint e USING (org_id)
        WHERE e.livemode AND e.kind <> 'callbacks' AND e.form = 'native' AND e.disabled_at IS NULL AND u.at >= e.created_at
          AND (e.events = '{}' OR u.event = ANY (e.events))
        ON CONFLICT (org_id, id) DO NOTHING
        RETURNING id
    )
    SELECT cardinality($1::uuid[]) AS taken, count(*)::int AS posted FROM posted
    """,
)
POST_SAMPLE = Query(
    Delivery,
    """
    INSERT INTO gateway.webhook_delivery AS d (org_id, id, endpoint_id, event, form, data, happened_at)
    VALUES ($1, $2, $3, $4, $5, $6, billing.now())
    RETURNING """
    + _DELIVERY
    + """
    """,
)

# -- sending -----------------------------------------------------------------------------------------------------------
CLAIM_ALONE = Query(Alone, "SELECT pg_try_advisory_xact_lock(7281330400) AS alone")
# So many at a time for an endpoint that answers, one for an endpoint that fails, more for callbacks, which have many
# receivers: whoever does not answer waits for itself.
CLAIM = Query(
    Claimed,
    """
    WITH place AS (
        SELECT e.org_id, e.id, e.url, e.generation, coalesce(e.old_until > billing.now(), false) AS old_valid,
               CASE WHEN e.kind = 'callbacks' THEN 16 WHEN e.failing_since IS NULL THEN 4 ELSE 1 END
               - (SELECT count(*) FROM gateway.webhook_delivery d
                  WHERE d.org_id = e.org_id AND d.endpoint_id = e.id AND d.claimed_until > billing.now()) AS free
        FROM gateway.webhook_endpoint e WHERE e.kind <> 'listener' AND e.disabled_at IS NULL
    ), due AS (
        SELECT d.org_id, d.id, p.url, p.generation, p.old_valid
        FROM place p CROSS JOIN LATERAL (
            SELECT d.org_id, d.id, d.due_at FROM gateway.webhook_delivery d
            WHERE d.org_id = p.org_id AND d.endpoint_id = p.id AND d.state = 'waiting' AND d.due_at <= billing.now()
              AND (d.claimed_until IS NULL OR d.claimed_until <= billing.now())
            ORDER BY d.due_at LIMIT greatest(p.free, 0)) d
        ORDER BY d.due_at LIMIT $1
    )
    UPDATE gateway.webhook_delivery d SET claimed_until = billing.now() + make_interval(secs => $2)
    FROM due WHERE d.org_id = due.org_id AND d.id = due.id
    RETURNING d.org_id, d.id, d.endpoint_id, d.event, d.form, d.job_id, d.data, coalesce(d.url, due.url) AS url, d.happened_at,
              d.tries::int, due.generation, due.old_valid
    """,
)
# What a try came to: $7 is the state now, $8 the pause before the next try.
RECORD = Command("""
    WITH tried AS (
        UPDATE gateway.webhook_delivery SET tries = tries + 1, state = $7, claimed_until = NULL,
            due_at = billing.now() + make_interval(secs => coalesce($8::float8, 0)),
            ended_at = CASE WHEN $7 <> 'waiting' THEN billing.now() END
        WHERE org_id = $1 AND id = $2 AND state = 'waiting'
        RETURNING org_id, id, tries
    )
    INSERT INTO gateway.webhook_try (org_id, delivery_id, n, took_ms, status, error, answer)
    SELECT org_id, id, tries, $3, $4::smallint, $5, $6 FROM tried
""")
ANSWERED = Command("""
    UPDATE gateway.webhook_endpoint SET failing_since = NULL WHERE org_id = $1 AND id = $2 AND failing_since IS NOT NULL
""")
FAILED = Command("""
    UPDATE gateway.webhook_endpoint SET
        failing_since = coalesce(failing_since, billing.now()),
        disabled_at = CASE WHEN disabled_at IS NULL AND ($3 OR failing_since < billing.now() - make_interval(secs => $4))
                           THEN billing.now() ELSE disabled_at END,
        disabled_reason = CASE WHEN disabled_at IS NOT NULL THEN disabled_reason
                               WHEN $3 THEN 'its server answered 410 Gone'
                               WHEN failing_since < billing.now() - make_interval(secs => $4)
                               THEN 'no delivery has succeeded since ' || to_char(failing_since, 'YYYY-MM-DD HH24:MI"Z"') END
    WHERE org_id = $1 AND id = $2 AND kind = 'url'
""")

# -- the log -----------------------------------------------------------------------------------------------------------
DELIVERY = Query(
    Delivery,
    """
    SELECT """
    + _DELIVERY
    + """
    FROM gateway.webhook_delivery d WHERE org_id = $1 AND id = $2
    """,
)
DELIVERIES = Query(
    Delivery,
    """
    SELECT """
    + _DELIVERY
    + """
    FROM gateway.webhook_delivery d
    WHERE d.org_id = $1 AND d.endpoint_id = $2 AND ($3::text IS NULL OR d.state = $3)
      AND ($4::uuid IS NULL OR (d.created_at, d.id) > (SELECT a.created_at, a.id FROM gateway.webhook_delivery a
                                                       WHERE a.org_id = $1 AND a.id = $4))
    ORDER BY d.created_at, d.id LIMIT $5
    """,
)
TRIES = Query(
    Try,
    """
    SELECT n::int, at, took_ms, status::int, error, answer FROM gateway.webhook_try
    WHERE org_id = $1 AND delivery_id = $2 ORDER BY n
    """,
)
RESEND = Query(
    Delivery,
    """
    UPDATE gateway.webhook_delivery d SET state = 'waiting', due_at = billing.now(), claimed_until = NULL, ended_at = NULL
    WHERE org_id = $1 AND id = $2
    RETURNING """
    + _DELIVERY
    + """
    """,
)
FORGET_DELIVERIES = Command("""
    DELETE FROM gateway.webhook_delivery WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM gateway.webhook_delivery WHERE created_at < billing.now() - make_interval(secs => $1) LIMIT $2))
""")
FORGET_LISTENERS = Command("""
    WITH old AS (
        DELETE FROM gateway.webhook_endpoint WHERE kind = 'listener' AND created_at < billing.now() - make_interval(secs => $1)
        RETURNING org_id, id)
    DELETE FROM gateway.webhook_delivery d USING old WHERE d.org_id = old.org_id AND d.endpoint_id = old.id
""")
