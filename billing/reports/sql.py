"""Every statement of the reports. Each reads roll-up, tail and edges in one snapshot (docs/decisions/0020)."""

from typing import LiteralString

import msgspec

from billing.kit.query import Query
from billing.reports.model import JobLine, MarginRow, Movement, TrueUp, UsageRow

# $1 … $11: which series. A filter that is null lets everything through; planned with its values, it is not there at all.
_SERIES: LiteralString = """
    s.book = $1
    AND ($2::uuid[] IS NULL OR s.customer_id = ANY($2)) AND ($3::uuid[] IS NULL OR s.project_id = ANY($3))
    AND ($4::uuid[] IS NULL OR s.key_id = ANY($4)) AND ($5::text[] IS NULL OR s.model = ANY($5))
    AND ($6::text[] IS NULL OR s.chip = ANY($6)) AND ($7::text[] IS NULL OR s.tier = ANY($7))
    AND ($8::text[] IS NULL OR s.resolution = ANY($8)) AND ($9::text[] IS NULL OR s.task = ANY($9))
    AND ($10::text[] IS NULL OR s.outcome = ANY($10)) AND ($11::jsonb IS NULL OR s.labels @> $11)
"""
# $12 … $15: from, the whole quarters of an hour inside (from, to), to. $16: where each bucket begins, $17: where it ends,
# $18: its label. $19 … $22: the runs of spans that make up the buckets: number of the bucket, width, from, to. $23: what to
# group by, $24: how many lines.
# Series are put into groups first, so that the many rows of a period are added up under one small number. OFFSET 0 keeps the
# planner from reading a whole width to match its spans with the runs: it looks up one run after the other. The last of all
# xids bounds the tail above because a planner that sees no upper bound expects a third of all rows.
_PARTS: LiteralString = """
    picked AS MATERIALIZED (SELECT g, unnest(ids) AS id FROM grouped),
    part AS (
        SELECT p.n, r.g, r.rows, r.gross_micro, r.granted_micro, r.net_micro, r.prepaid_micro, r.cost_micro, r.requested_ms,
               r.delivered_ms, r.billed_ms, r.seconds_ms, r.queue_ms, r.run_ms, r.images
        FROM unnest($19::int[], $20::int[], $21::timestamptz[], $22::timestamptz[]) AS p (n, width_s, first, last)
        CROSS JOIN LATERAL (
            SELECT * FROM billing.usage_rollup r JOIN picked k ON k.id = r.series_id
            WHERE r.width_s = p.width_s AND r.start >= p.first AND r.start < p.last OFFSET 0
        ) r
        WHERE (SELECT billing.usage_through()) > '0'
        UNION ALL
        SELECT width_bucket(u.at, $16::timestamptz[]), k.g, 1, u.gross_micro, u.granted_micro, u.net_micro, u.prepaid_micro,
               u.cost_micro, u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.queue_ms, u.run_ms, u.images
        FROM billing.usage u JOIN picked k ON k.id = u.series_id
        WHERE u.at >= $12 AND u.at < $15 AND u.xid >= (SELECT billing.usage_through()) AND u.xid <= '18446744073709551615'
        UNION ALL
        SELECT width_bucket(u.at, $16::timestamptz[]), k.g, 1, u.gross_micro, u.granted_micro, u.net_micro, u.prepaid_micro,
               u.cost_micro, u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.queue_ms, u.run_ms, u.images
        FROM billing.usage u JOIN picked k ON k.id = u.series_id
        WHERE u.at >= $12 AND u.at < $13 AND u.xid < (SELECT billing.usage_through())
        UNION ALL
        SELECT width_bucket(u.at, $16::timestamptz[]), k.g, 1, u.gross_micro, u.granted_micro, u.net_micro, u.prepaid_micro,
               u.cost_micro, u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.queue_ms, u.run_ms, u.images
        FROM billing.usage u JOIN picked k ON k.id = u.series_id
        WHERE u.at >= $14 AND u.at < $15 AND u.xid < (SELECT billing.usage_through())
    )
"""

# $25: the labels to group by.
USAGE = Query(
    UsageRow,
    """
    WITH grouped AS MATERIALIZED (
        SELECT row_number() OVER () AS g, array_agg(id) AS ids, organization, project, key, model, chip, tier, resolution, task,
               outcome, labels, currency, kind, succeeded
        FROM (
            SELECT s.id,
                   CASE WHEN 'organization' = ANY($23::text[]) THEN s.customer_id END AS organization,
                   CASE WHEN 'project' = ANY($23) THEN s.project_id END AS project,
                   CASE WHEN 'key' = ANY($23) THEN s.key_id END AS key,
                   CASE WHEN 'model' = ANY($23) THEN s.model END AS model,
                   CASE WHEN 'chip' = ANY($23) THEN s.chip END AS chip,
                   CASE WHEN 'tier' = ANY($23) THEN s.tier END AS tier,
                   CASE WHEN 'resolution' = ANY($23) THEN s.resolution END AS resolution,
                   CASE WHEN 'task' = ANY($23) THEN s.task END AS task,
                   CASE WHEN 'outcome' = ANY($23) THEN s.outcome END AS outcome,
                   (SELECT coalesce(jsonb_object_agg(name, s.labels -> name), '{}') FROM unnest($25::text[]) AS name) AS labels,
                   s.currency, s.kind, s.outcome = 'succeeded' AS succeeded
            FROM billing.usage_series s WHERE """
    + _SERIES
    + """
        ) s
        GROUP BY organization, project, key, model, chip, tier, resolution, task, outcome, labels, currency, kind, succeeded
    ), """
    + _PARTS
    + """
    , summed AS (
        SELECT n, g, sum(rows) AS rows, sum(requested_ms) AS requested_ms, sum(delivered_ms) AS delivered_ms,
               sum(billed_ms) AS billed_ms, sum(seconds_ms) AS seconds_ms, sum(images) AS images, sum(queue_ms) AS queue_ms,
               sum(run_ms) AS run_ms, sum(gross_micro) AS gross_micro, sum(granted_micro) AS granted_micro,
               sum(net_micro) AS net_micro
        FROM part GROUP BY n, g
    )
    SELECT ($16::timestamptz[])[n] AS start, ($17::timestamptz[])[n] AS end, ($18::text[])[n] AS period,
           organization, project, key, model, chip, tier, resolution, task, outcome, labels, currency,
           coalesce(sum(rows) FILTER (WHERE kind = 'charge' AND succeeded), 0)::bigint AS jobs,
           coalesce(sum(rows) FILTER (WHERE kind = 'charge' AND NOT succeeded), 0)::bigint AS failed_jobs,
           coalesce(sum(rows) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunds,
           sum(requested_ms)::bigint AS requested_ms, sum(delivered_ms)::bigint AS delivered_ms,
           sum(billed_ms)::bigint AS billed_ms, sum(seconds_ms)::bigint AS seconds_ms, sum(images)::bigint AS images,
           sum(queue_ms)::bigint AS queue_ms, sum(run_ms)::bigint AS run_ms, sum(gross_micro)::bigint AS gross_micro,
           sum(granted_micro)::bigint AS granted_micro, sum(net_micro)::bigint AS net_micro
    FROM summed JOIN grouped USING (g)
    GROUP BY n, organization, project, key, model, chip, tier, resolution, task, outcome, labels, currency
    ORDER BY n, organization, project, key, model, chip, tier, resolution, task, outcome, labels, currency
    LIMIT $24::bigint
    """,
)

MARGIN = Query(
    MarginRow,
    """
    WITH grouped AS MATERIALIZED (
        SELECT row_number() OVER () AS g, array_agg(id) AS ids, organization, model, chip, currency, cost_currency, kind,
               succeeded
        FROM (
            SELECT s.id,
                   CASE WHEN 'organization' = ANY($23::text[]) THEN s.customer_id END AS organization,
                   CASE WHEN 'model' = ANY($23) THEN s.model END AS model,
                   CASE WHEN 'chip' = ANY($23) THEN s.chip END AS chip,
                   s.currency, s.cost_currency, s.kind, s.outcome = 'succeeded' AS succeeded
            FROM billing.usage_series s WHERE """
    + _SERIES
    + """
        ) s
        GROUP BY organization, model, chip, currency, cost_currency, kind, succeeded
    ), """
    + _PARTS
    + """
    , summed AS (
        SELECT n, g, sum(rows) AS rows, sum(net_micro) AS net_micro, sum(prepaid_micro) AS prepaid_micro,
               sum(cost_micro) AS cost_micro
        FROM part GROUP BY n, g
    )
    SELECT ($16::timestamptz[])[n] AS start, ($17::timestamptz[])[n] AS end, ($18::text[])[n] AS period,
           organization, model, chip, currency, cost_currency,
           coalesce(sum(rows) FILTER (WHERE kind = 'charge' AND succeeded), 0)::bigint AS jobs,
           coalesce(sum(rows) FILTER (WHERE kind = 'charge' AND NOT succeeded), 0)::bigint AS failed_jobs,
           coalesce(sum(rows) FILTER (WHERE kind = 'refund'), 0)::bigint AS refunds,
           (sum(net_micro) + sum(prepaid_micro))::bigint AS revenue_micro, sum(cost_micro)::bigint AS cost_micro
    FROM summed JOIN grouped USING (g)
    GROUP BY n, organization, model, chip, currency, cost_currency
    ORDER BY n, organization, model, chip, currency, cost_currency
    LIMIT $24::bigint
    """,
)

TRUE_UPS = Query(
    TrueUp,
    """
    SELECT pool, month, currency, sum(booked_micro)::bigint AS amount_micro FROM billing.supplier_bill
    WHERE month::timestamp AT TIME ZONE 'UTC' >= $1 AND month::timestamp AT TIME ZONE 'UTC' < $2
    GROUP BY month, pool, currency HAVING sum(booked_micro) <> 0 ORDER BY month, pool
    """,
)

# $12, $13: the period, its start moved to the cursor; $14 … $16: the row after which to begin; $17: how many.
JOBS = Query(
    JobLine,
    """
    SELECT u.at, u.subject_id AS subject, s.kind, s.customer_id AS organization, s.project_id AS project, s.key_id AS key,
           s.model, s.chip, s.tier, s.resolution, s.task, s.outcome, s.labels, u.end_user, s.currency,
           s.rate_card_id AS price_version, u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.images, u.queue_ms,
           u.run_ms, u.attempts, u.gross_micro, u.granted_micro, u.net_micro, u.series_id AS series
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


# Opening, movements and closing in one snapshot; nothing at all where there is no such wallet. Balances say what there is
# now, so that only what was booked since the period began is read, however long the wallet's history.
STATEMENT = Query(
    Movement,
    """
    WITH wallet AS (SELECT id FROM billing.wallet WHERE customer_id = $1 AND book = $2 AND asset = $3),
    account AS MATERIALIZED (
        SELECT g.account_id AS id, g.kind, b.posted FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id
        WHERE g.wallet_id = (SELECT id FROM wallet)
    ), moved AS MATERIALIZED (
        SELECT e.booked_at AS at, e.transfer_id AS transfer, a.kind AS grant, sum(e.amount) AS amount
        FROM account a CROSS JOIN LATERAL (
            SELECT * FROM billing.entry WHERE account_id = a.id AND booked_at >= $4 AND booked_at < $5 OFFSET 0
        ) e
        GROUP BY e.booked_at, e.transfer_id, a.kind
    ), later AS (
        SELECT coalesce(sum(e.amount), 0) AS amount
        FROM account a CROSS JOIN LATERAL (
            SELECT amount FROM billing.entry WHERE account_id = a.id AND booked_at >= $5 OFFSET 0
        ) e
    ), lines AS (
        SELECT 0 AS place, $4::timestamptz AS at, NULL::uuid AS transfer, '' AS grant,
               coalesce((SELECT sum(posted) FROM account), 0) - (SELECT amount FROM later)
                   - coalesce((SELECT sum(amount) FROM moved), 0) AS amount
        UNION ALL
        SELECT 1, at, transfer, "grant", amount FROM moved
        UNION ALL
        SELECT 2, $5, NULL, '', 0
    ), summed AS (
        SELECT place, at, transfer, "grant", amount,
               sum(amount) OVER (ORDER BY place, at, transfer, "grant" ROWS UNBOUNDED PRECEDING) AS balance
        FROM lines WHERE EXISTS (SELECT FROM wallet) ORDER BY place, at, transfer, "grant" LIMIT $6::bigint
    )
    SELECT s.at, CASE place WHEN 0 THEN 'opening' WHEN 1 THEN t.kind ELSE 'closing' END AS kind, t.subject_id AS subject,
           s.transfer, s."grant", CASE place WHEN 1 THEN s.amount::bigint ELSE 0 END AS amount, s.balance::bigint AS balance
    FROM summed s LEFT JOIN billing.transfer t ON t.id = s.transfer
    ORDER BY s.place, s.at, s.transfer, s."grant"
    """,
)


class Set(msgspec.Struct, frozen=True):
    value: str


# A report has many filters of which few are given, so a plan made without their values is a bad one; and compiling one takes
# longer than running it.
PLAN_EACH = Query(
    Set, "SELECT set_config('plan_cache_mode', 'force_custom_plan', true) || set_config('jit', 'off', true) AS value"
)
# A file is read as fast as its reader wants: neither a statement nor the pause between two may be cut short.
PATIENT = Query(
    Set,
    "SELECT set_config('statement_timeout', $1, true) || set_config('idle_in_transaction_session_timeout', $1, true) AS value",
)
