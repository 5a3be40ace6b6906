"""Every statement by which the leader reads the queue."""

from typing import LiteralString

from billing.kit.query import Query
from gateway.jobs.waiting.model import DatabaseTime, Flow, Mark, Waiting

NOW = Query(DatabaseTime, "SELECT extract(epoch FROM billing.now())::float8 AS at")
MARK = Query(Mark, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS mark")
_WAITING: LiteralString = """
           j.org_id, j.id, CASE WHEN j.livemode THEN j.model ELSE 'testcard' END AS model, j.tier,
           j.resolution, j.max_ms / 1000.0::float8 AS seconds, j.steps,
           extract(epoch FROM j.created_at)::float8 AS submitted_at, extract(epoch FROM j.available_at)::float8 AS available_at,
           extract(epoch FROM j.promised_start_at)::float8 AS promised_at, j.attempt,
           ARRAY(SELECT a.replica FROM gateway.attempt a WHERE a.org_id = j.org_id AND a.job_id = j.id
                 AND a.outcome IN ('failed', 'lost')) AS tried
"""
# The whole queue is these two: what may start and never ran, many jobs to a row, and the rest. Read from the index job_fresh
# alone. OFFSET 0: what is grouped is one narrow column, made once.
FLOWS = Query(
    Flow,
    """
    SELECT org_id, model, tier, resolution, steps, string_agg(job, ''::bytea) AS jobs
    FROM (SELECT org_id, CASE WHEN livemode THEN model ELSE 'testcard' END AS model, tier, resolution, steps,
                 uuid_send(id) || float8send(max_ms / 1000.0::float8)
                 || float8send(extract(epoch FROM created_at)::float8)
                 || float8send(coalesce(extract(epoch FROM promised_start_at)::float8, 'NaN')) AS job
          FROM gateway.job WHERE state = 'queued' AND attempt = 0 AND available_at <= to_timestamp($1) OFFSET 0) j
    GROUP BY org_id, model, tier, resolution, steps
    """,
)
OTHERS = Query(
    Waiting,
    """
    SELECT """
    + _WAITING
    + """
    FROM gateway.job j WHERE j.state = 'queued' AND (j.attempt > 0 OR j.available_at > to_timestamp($1)) ORDER BY j.id
    """,
)
# Of what may start, the first by tier and age, from the index job_queue.
FIRST = Query(
    Waiting,
    """
    SELECT """
    + _WAITING
    + """
    FROM gateway.job j WHERE j.state = 'queued' AND j.available_at <= to_timestamp($1)
    ORDER BY CASE tier WHEN 'priority' THEN 0 WHEN 'standard' THEN 1 ELSE 2 END, id LIMIT $2
    """,
)
WAITING_SINCE = Query(
    Waiting,
    """
    SELECT """
    + _WAITING
    + """
    FROM gateway.job j WHERE j.state = 'queued' AND j.queued_xid >= $1::text::xid8 ORDER BY j.id
    """,
)
WAITING_BY_ID = Query(
    Waiting,
    """
    SELECT """
    + _WAITING
    + """
    FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id) JOIN gateway.job j USING (org_id, id) WHERE j.state = 'queued'
    """,
)
