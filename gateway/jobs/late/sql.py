"""Every statement about late starts; both use the index job_late."""

from billing.kit.query import Command, Query
from gateway.jobs.late.model import LateStart

LATE = Query(
    LateStart,
    """
    SELECT org_id, id, promised_start_at, started_at, charged_micro, charged_ms, terms FROM gateway.job
    WHERE state = 'succeeded' AND livemode AND started_at > promised_start_at AND credited_micro IS NULL
    ORDER BY finished_at LIMIT $1 FOR UPDATE SKIP LOCKED
    """,
)
CREDITED = Command("""
    UPDATE gateway.job j SET credited_micro = u.credited_micro
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS u (org_id, id, credited_micro)
    WHERE j.org_id = u.org_id AND j.id = u.id
""")
