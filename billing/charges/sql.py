"""Every statement of charges. Locks are taken in this order: holds, volumes, balances (both by id), series (by id)."""

import msgspec

from billing.kit.query import Command, Query


class RolledUp(msgspec.Struct, frozen=True):
    rows: int


class Alone(msgspec.Struct, frozen=True):
    alone: bool


class Month(msgspec.Struct, frozen=True):
    added: bool


# -- usage -------------------------------------------------------------------------------------------------------------
# In order of id, so that two batches that bring the same new series wait for each other in one direction only.
ADD_SERIES = Command("""
    INSERT INTO billing.usage_series (id, kind, customer_id, project_id, key_id, rate_card_id, book, currency, cost_currency,
                                      model, task, resolution, tier, chip, outcome, labels)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                         $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::jsonb[])
    ORDER BY 1 ON CONFLICT (id) DO NOTHING
""")
ADD_USAGE = Command("""
    INSERT INTO billing.usage (subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro,
                               requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts, end_user)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::int[], $9::int[], $10::int[], $11::int[], $12::int[], $13::int[], $14::int[], $15::smallint[],
                         $16::text[])
""")
ADD_MONTH = Query(
    Month,
    """
    SELECT billing.add_usage_month((billing.now() AT TIME ZONE 'UTC' + make_interval(months => $1::int))::date) AS added
    """,
)

# -- roll-up -----------------------------------------------------------------------------------------------------------
ALONE = Query(Alone, "SELECT pg_try_advisory_xact_lock(7281330302) AS alone")
# One statement, so one snapshot: a transaction before its xmin has ended, so its rows are all here or will never be. `nth`
# bounds the work; the rows of one transaction stay together, because the mark can only stand between transactions.
ROLL_UP = Query(
    RolledUp,
    """
    WITH span AS MATERIALIZED (
        SELECT low, least(xmin, (SELECT min(xid) FROM billing.usage WHERE xid > nth)) AS high
        FROM (
            SELECT low, pg_snapshot_xmin(pg_current_snapshot()) AS xmin,
                   (SELECT xid FROM billing.usage WHERE xid >= low ORDER BY xid OFFSET $1::int - 1 LIMIT 1) AS nth
            FROM billing.usage_through() AS low
        ) s
    ), fresh AS (
        SELECT date_bin(make_interval(secs => width_s), at, timestamptz '2000-01-01 00:00+00') AS start, series_id, width_s,
               count(*) AS rows,
               sum(gross_micro)::bigint AS gross_micro, sum(granted_micro)::bigint AS granted_micro,
               sum(net_micro)::bigint AS net_micro, sum(prepaid_micro)::bigint AS prepaid_micro,
               sum(cost_micro)::bigint AS cost_micro, sum(requested_ms) AS requested_ms, sum(delivered_ms) AS delivered_ms,
               sum(billed_ms) AS billed_ms, sum(seconds_ms) AS seconds_ms, sum(queue_ms) AS queue_ms, sum(run_ms) AS run_ms,
               sum(images) AS images
        FROM billing.usage CROSS JOIN unnest('{900, 3600, 14400}'::int[]) AS width_s
        WHERE xid >= (SELECT low FROM span) AND xid < (SELECT high FROM span)
        GROUP BY 1, 2, 3
    ), added AS (
        INSERT INTO billing.usage_rollup AS r
            (start, series_id, width_s, rows, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro, requested_ms,
             delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images)
        SELECT * FROM fresh
        ON CONFLICT (series_id, width_s, start) DO UPDATE SET
            rows = r.rows + excluded.rows,
            gross_micro = r.gross_micro + excluded.gross_micro,
            granted_micro = r.granted_micro + excluded.granted_micro,
            net_micro = r.net_micro + excluded.net_micro,
            prepaid_micro = r.prepaid_micro + excluded.prepaid_micro,
            cost_micro = r.cost_micro + excluded.cost_micro,
            requested_ms = r.requested_ms + excluded.requested_ms,
            delivered_ms = r.delivered_ms + excluded.delivered_ms,
            billed_ms = r.billed_ms + excluded.billed_ms,
            seconds_ms = r.seconds_ms + excluded.seconds_ms,
            queue_ms = r.queue_ms + excluded.queue_ms,
            run_ms = r.run_ms + excluded.run_ms,
            images = r.images + excluded.images
    ), moved AS (
        UPDATE billing.usage_mark SET through = (SELECT high FROM span) WHERE EXISTS (SELECT FROM fresh)
    )
    SELECT coalesce(sum(rows), 0)::bigint AS rows FROM fresh WHERE width_s = 900
    """,
)
ANOTHER_CLUSTER = Command("""
    UPDATE billing.usage_mark m SET cluster = c.system_identifier, through = '0'
    FROM pg_control_system() c WHERE m.cluster <> c.system_identifier
""")
FORGET_ROLLUP = Command("DELETE FROM billing.usage_rollup")
