"""Every statement of the reports. Each reads roll-up, tail and edges in one snapshot (docs/decisions/0020)."""

from typing import LiteralString

import msgspec

from billing.kit.query import Query
from billing.reports.model import JobLine, MarginRow, UsageRow

# $1 … $11: which series. A filter that is null lets everything through; planned with its values, it is not there at all.
_SERIES: LiteralString = """
    s.book = $1
    AND ($2::uuid[] IS NULL OR s.customer_id = ANY($2)) AND ($3::uuid[] IS NULL OR s.project_id = ANY($3))
    AND ($4::uuid[] IS NULL OR s.key_id = ANY($4)) AND ($5::text[] IS NULL OR s.model = ANY($5))
    AND ($6::text[] IS NULL OR s.chip = ANY($6)) AND ($7::text[] IS NULL OR s.tier = ANY($7))
    AND ($8::text[] IS NULL OR s.resolution = ANY($8)) AND ($9::text[] IS NULL OR s.task = ANY($9))
    AND ($10::text[] IS NULL OR s.outcome = ANY($10)) AND ($11::jsonb IS NULL OR s.labels @> $11)
"""
_OF_SERIES: LiteralString = (
    """
    series_id IN (SELECT s.id FROM billing.usage_series s WHERE """
    + _SERIES
    + ")"
)

# $12 … $15: from, the whole quarters inside (from, to), to. $16: where each bucket begins; width_bucket gives its number.
# The last of all xids bounds the tail above because a planner that sees no upper bound expects a third of all rows.
_SUMS: LiteralString = (
    """
    WITH part AS (
        SELECT series_id, width_bucket(quarter, $16::timestamptz[]) AS n, rows, gross_micro, granted_micro, net_micro,
               prepaid_micro, cost_micro, requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images
        FROM billing.usage_rollup
        WHERE quarter >= $13 AND quarter < $14 AND (SELECT billing.usage_through()) > '0' AND """
    + _OF_SERIES
    + """
        UNION ALL
        SELECT series_id, width_bucket(at, $16::timestamptz[]), 1, gross_micro, granted_micro, net_micro,
               prepaid_micro, cost_micro, requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images
        FROM billing.usage
        WHERE at >= $12 AND at < $15 AND xid >= (SELECT billing.usage_through()) AND xid <= '18446744073709551615' AND """
    + _OF_SERIES
    + """
        UNION ALL
        SELECT series_id, width_bucket(at, $16::timestamptz[]), 1, gross_micro, granted_micro, net_micro,
               prepaid_micro, cost_micro, requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images
        FROM billing.usage
        WHERE at >= $12 AND at < $13 AND xid < (SELECT billing.usage_through()) AND """
    + _OF_SERIES
    + """
        UNION ALL
        SELECT series_id, width_bucket(at, $16::timestamptz[]), 1, gross_micro, granted_micro, net_micro,
               prepaid_micro, cost_micro, requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images
        FROM billing.usage
        WHERE at >= $14 AND at < $15 AND xid < (SELECT billing.usage_through()) AND """
    + _OF_SERIES
    + """
    )
"""
)

# $17: where each bucket ends, $18: its label, $19: the groups, $20: the labels to group by, $21: how many rows.
USAGE = Query(
    UsageRow,
    _SUMS
    + """
    , summed AS (
        SELECT series_id, n, sum(rows) AS rows, sum(requested_ms) AS requested_ms, sum(delivered_ms) AS delivered_ms,
               sum(billed_ms) AS billed_ms, sum(seconds_ms) AS seconds_ms, sum(images) AS images, sum(queue_ms) AS queue_ms,
               sum(run_ms) AS run_ms, sum(gross_micro) AS gross_micro, sum(granted_micro) AS granted_micro,
               sum(net_micro) AS net_micro
        FROM part GROUP BY series_id, n
    )
    SELECT ($16::timestamptz[])[n] AS start, ($17::timestamptz[])[n] AS end, ($18::text[])[n] AS period,
           CASE WHEN 'organization' = ANY($19::text[]) THEN s.customer_id END AS organization,
           CASE WHEN 'project' = ANY($19) THEN s.project_id END AS project,
           CASE WHEN 'key' = ANY($19) THEN s.key_id END AS key,
           CASE WHEN 'model' = ANY($19) THEN s.model END AS model,
           CASE WHEN 'chip' = ANY($19) THEN s.chip END AS chip,
           CASE WHEN 'tier' = ANY($19) THEN s.tier END AS tier,
           CASE WHEN 'resolution' = ANY($19) THEN s.resolution END AS resolution,
           CASE WHEN 'task' = ANY($19) THEN s.task END AS task,
           CASE WHEN 'outcome' = ANY($19) THEN s.outcome END AS outcome,
           (SELECT coalesce(jsonb_object_agg(name, s.labels -> name), '{}') FROM unnest($20::text[]) AS name) AS labels,
           s.currency,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'charge' AND s.outcome = 'succeeded'), 0)::bigint AS jobs,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'charge' AND s.outcome <> 'succeeded'), 0)::bigint AS failed_jobs,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'refund'), 0)::bigint AS refunds,
           sum(requested_ms)::bigint AS requested_ms, sum(delivered_ms)::bigint AS delivered_ms,
           sum(billed_ms)::bigint AS billed_ms, sum(seconds_ms)::bigint AS seconds_ms, sum(images)::bigint AS images,
           sum(queue_ms)::bigint AS queue_ms, sum(run_ms)::bigint AS run_ms, sum(gross_micro)::bigint AS gross_micro,
           sum(granted_micro)::bigint AS granted_micro, sum(net_micro)::bigint AS net_micro
    FROM summed JOIN billing.usage_series s ON s.id = summed.series_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    ORDER BY 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    LIMIT $21::bigint
    """,
)

MARGIN = Query(
    MarginRow,
    _SUMS
    + """
    , summed AS (
        SELECT series_id, n, sum(rows) AS rows, sum(net_micro) AS net_micro, sum(prepaid_micro) AS prepaid_micro,
               sum(cost_micro) AS cost_micro
        FROM part GROUP BY series_id, n
    )
    SELECT ($16::timestamptz[])[n] AS start, ($17::timestamptz[])[n] AS end, ($18::text[])[n] AS period,
           CASE WHEN 'organization' = ANY($19::text[]) THEN s.customer_id END AS organization,
           CASE WHEN 'model' = ANY($19) THEN s.model END AS model,
           CASE WHEN 'chip' = ANY($19) THEN s.chip END AS chip,
           s.currency, s.cost_currency,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'charge' AND s.outcome = 'succeeded'), 0)::bigint AS jobs,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'charge' AND s.outcome <> 'succeeded'), 0)::bigint AS failed_jobs,
           coalesce(sum(rows) FILTER (WHERE s.kind = 'refund'), 0)::bigint AS refunds,
           (sum(net_micro) + sum(prepaid_micro))::bigint AS revenue_micro, sum(cost_micro)::bigint AS cost_micro
    FROM summed JOIN billing.usage_series s ON s.id = summed.series_id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ORDER BY 1, 4, 5, 6, 7, 8
    LIMIT $20::bigint
    """,
)

# $12, $13: the period, its start moved to the cursor; $14 … $16: the row after which to begin; $17: how many.
JOBS = Query(
    JobLine,
    """
    SELECT u.at, u.subject_id AS job, s.kind, s.customer_id AS organization, s.project_id AS project, s.key_id AS key, s.model,
           s.chip, s.tier, s.resolution, s.task, s.outcome, s.labels, u.end_user, s.currency, s.rate_card_id AS price_version,
           u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.images, u.queue_ms, u.run_ms, u.attempts,
           u.gross_micro, u.granted_micro, u.net_micro, u.series_id AS series
    FROM billing.usage_series s CROSS JOIN LATERAL (
        SELECT * FROM billing.usage
        WHERE series_id = s.id AND at >= $12 AND at < $13
          AND (at > $14 OR subject_id > $15 OR (subject_id = $15 AND series_id > $16))
        ORDER BY at, subject_id LIMIT $17::bigint
    ) u
    WHERE """
    + _SERIES
    + """
    ORDER BY u.at, u.subject_id, u.series_id LIMIT $17
    """,
)


class Set(msgspec.Struct, frozen=True):
    value: str


# A report has many filters of which few are given, so a plan made without their values is a bad one.
PLAN_EACH = Query(Set, "SELECT set_config('plan_cache_mode', 'force_custom_plan', true) AS value")
NO_JIT = Query(Set, "SELECT set_config('jit', 'off', true) AS value")
