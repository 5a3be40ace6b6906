"""Every statement of the request log."""

from billing.kit.query import Command, Query
from gateway.requests.model import Group, Logged

# The same batch may be sent again after an unknown outcome.
ADD_CALLS = Command("""
    INSERT INTO gateway.request (org_id, id, at, project_id, caller_id, method, route, status, code, duration_ms, job_id,
        request_id)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
        $8::smallint[], $9::text[], $10::int[], $11::uuid[], $12::text[])
    ON CONFLICT DO NOTHING
""")
ADD_READS = Command("""
    INSERT INTO gateway.request_reads (org_id, minute, project_id, caller_id, route, process, calls, duration_ms)
    SELECT u.org_id, u.minute, u.project_id, u.caller_id, u.route, $8, u.calls, u.duration_ms
    FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[])
        AS u (org_id, minute, project_id, caller_id, route, calls, duration_ms)
    ON CONFLICT DO NOTHING
""")
CALLS = Query(
    Logged,
    """
    SELECT r.org_id, r.id, r.at, r.project_id, r.caller_id, r.method, r.route, r.status, r.code, r.duration_ms, r.job_id,
           r.request_id,
           CASE WHEN j.finished_at IS NULL THEN j.hold_micro ELSE j.charged_micro END AS price_micro,
           j.terms ->> 'currency' AS currency
    FROM gateway.request r LEFT JOIN gateway.job j ON j.org_id = r.org_id AND j.id = r.job_id
    WHERE r.org_id = $1 AND ($2::uuid IS NULL OR r.id < $2) AND ($3::uuid IS NULL OR r.caller_id = $3)
      AND ($4::smallint IS NULL OR r.status = $4) AND ($5::text IS NULL OR r.code = $5)
      AND r.at >= $6 AND r.at < $7
    ORDER BY r.id DESC LIMIT $8
    """,
)
GROUPS = Query(
    Group,
    """
    SELECT method, route, status::int, code, sum(calls)::bigint AS calls, (sum(duration_ms) / sum(calls))::bigint AS mean_ms,
           max(max_ms)::int AS max_ms, min(at) AS first_at, max(at) AS last_at,
           (array_agg(request_id ORDER BY at DESC) FILTER (WHERE request_id IS NOT NULL))[1] AS request_id
    FROM (
        SELECT method, route, status, code, 1 AS calls, duration_ms::bigint AS duration_ms, duration_ms AS max_ms, at, request_id
        FROM gateway.request
        WHERE org_id = $1 AND ($2::uuid IS NULL OR caller_id = $2) AND at >= $3 AND at < $4
        UNION ALL
        SELECT 'GET', route, 200, NULL, calls, duration_ms, NULL, minute, NULL
        FROM gateway.request_reads
        WHERE org_id = $1 AND ($2::uuid IS NULL OR caller_id = $2) AND minute >= $3 AND minute < $4
    ) each_
    GROUP BY method, route, status, code ORDER BY sum(calls) DESC, method, route, status, code LIMIT 200
    """,
)
FORGET_CALLS = Command("""
    DELETE FROM gateway.request WHERE (org_id, id) IN (
        SELECT org_id, id FROM gateway.request WHERE at < billing.now() - $1 * interval '1 day' ORDER BY at LIMIT $2)
""")
FORGET_READS = Command("""
    DELETE FROM gateway.request_reads WHERE (org_id, minute, caller_id, route, process) IN (
        SELECT org_id, minute, caller_id, route, process FROM gateway.request_reads
        WHERE minute < billing.now() - $1 * interval '1 day' ORDER BY minute LIMIT $2)
""")
