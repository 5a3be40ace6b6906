"""Every statement of charges. Locks are taken in this order: holds, volumes, balances (each by id), documents' lines, series."""

from uuid import UUID

import msgspec

from billing.charges.model import Kind, Outcome
from billing.kit.query import Command, Query
from billing.ledger.model import Book


class Recorded(msgspec.Struct, frozen=True):
    """A usage row as it is read back, `labels` still encoded."""

    subject_id: UUID
    kind: Kind
    customer_id: UUID
    project_id: UUID
    key_id: UUID
    rate_card_id: UUID
    book: Book
    currency: str
    cost_currency: str
    model: str
    task: str
    resolution: str
    tier: str
    chip: str
    outcome: Outcome
    labels: bytes
    gross_micro: int
    granted_micro: int
    net_micro: int
    prepaid_micro: int
    requested_ms: int
    delivered_ms: int
    billed_ms: int
    seconds_ms: int
    images: int
    end_user: str


class GivenBack(msgspec.Struct, frozen=True):
    """What a refund gave back."""

    id: UUID
    seconds_ms: int
    amount_micro: int


class Billed(msgspec.Struct, frozen=True):
    """The line of a document that charges a job, and what of that was not given back yet, by refunds or credit notes."""

    subject_id: UUID
    invoice_id: UUID
    line: int
    left_micro: int


class Revenue(msgspec.Struct, frozen=True):
    transfer_id: UUID
    amount_micro: int


class Volume(msgspec.Struct, frozen=True):
    customer_id: UUID
    book: str
    key: str
    counted: int


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
    INSERT INTO billing.usage (at, subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro,
                               requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts, end_user)
    SELECT coalesce(t.created_at, billing.now()), u.subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro,
           cost_micro, requested_ms, delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts, end_user
    FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::int[],
                $9::int[], $10::int[], $11::int[], $12::int[], $13::int[], $14::int[], $15::smallint[], $16::text[], $17::uuid[])
         AS u (subject_id, series_id, gross_micro, granted_micro, net_micro, prepaid_micro, cost_micro, requested_ms,
               delivered_ms, billed_ms, seconds_ms, queue_ms, run_ms, images, attempts, end_user, transfer_id)
    LEFT JOIN billing.transfer t ON t.id = u.transfer_id
""")
USAGE_OF = Query(
    Recorded,
    """
    SELECT u.subject_id, s.kind, s.customer_id, s.project_id, s.key_id, s.rate_card_id, s.book, s.currency, s.cost_currency,
           s.model, s.task, s.resolution, s.tier, s.chip, s.outcome, s.labels, u.gross_micro, u.granted_micro, u.net_micro,
           u.prepaid_micro, u.requested_ms, u.delivered_ms, u.billed_ms, u.seconds_ms, u.images, u.end_user
    FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id
    WHERE u.subject_id = ANY($1::uuid[]) ORDER BY u.subject_id, u.at
    """,
)
REFUNDS = Query(
    GivenBack,
    """
    SELECT id, (payload ->> 'seconds_ms')::bigint AS seconds_ms, (payload ->> 'amount_micro')::bigint AS amount_micro
    FROM billing.transfer WHERE id = ANY($1::uuid[])
    """,
)
BILLED = Query(
    Billed,
    """
    SELECT b.subject_id, b.invoice_id, b.line::int, l.charged_micro - l.refunded_micro - l.credited_micro AS left_micro
    FROM billing.billed b JOIN billing.billed_line l USING (invoice_id, line) WHERE b.subject_id = ANY($1::uuid[])
    """,
)
REFUND_LINES = Command("""
    UPDATE billing.billed_line l SET refunded_micro = l.refunded_micro + u.amount
    FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS u (invoice_id, line, amount)
    WHERE l.invoice_id = u.invoice_id AND l.line = u.line
""")
# What a transfer recognised as revenue; for a usage refund the part of prepaid seconds, for money it has an account of its own.
REVENUE = Query(
    Revenue,
    """
    SELECT e.transfer_id, sum(e.amount)::bigint AS amount_micro FROM billing.entry e
    WHERE e.transfer_id = ANY($1::uuid[]) AND e.account_id = ANY($2::uuid[]) GROUP BY e.transfer_id
    """,
)
ADD_MONTH = Query(
    Month,
    """
    SELECT billing.add_usage_month((billing.now() AT TIME ZONE 'UTC' + make_interval(months => $1::int))::date) AS added
    """,
)

# -- volumes -----------------------------------------------------------------------------------------------------------
ADD_VOLUMES = Command("""
    INSERT INTO billing.volume (customer_id, book, key)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
""")
LOCK_VOLUMES = Query(
    Volume,
    """
    SELECT v.customer_id, v.book, v.key, v.counted
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS u (customer_id, book, key)
    JOIN billing.volume v USING (customer_id, book, key) ORDER BY v.customer_id, v.book, v.key FOR UPDATE OF v
    """,
)
COUNT_VOLUMES = Command("""
    UPDATE billing.volume v SET counted = u.counted
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS u (customer_id, book, key, counted)
    WHERE v.customer_id = u.customer_id AND v.book = u.book AND v.key = u.key
""")

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
