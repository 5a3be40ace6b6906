"""Every statement of invoices. Locks are taken in this order: subscriptions or sales, balances, invoice numbers, lines."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from billing.invoices.model import JobOfLine
from billing.kit.query import Command, Query
from billing.plans.model import State
from billing.plans.sql import SaleRow


class ContractRow(msgspec.Struct, frozen=True):
    """A contract whose period is over; `plan` is JSON, `closed_through` what the last close saw, also of a contract before."""

    id: UUID
    customer_id: UUID
    plan: bytes
    state: State
    anchor: date
    starts_at: datetime
    ends_at: datetime | None
    period_starts_at: datetime
    period_ends_at: datetime
    time_zone: str
    closed_through: str | None


class Used(msgspec.Struct, frozen=True):
    """Usage on account of one kind, price and period: `bucket` counts the boundaries before it was ordered.

    `amount_micro` is `charged_micro` less `refunded_micro`, and less what came back of jobs that an earlier document charges.
    """

    bucket: int
    model: str
    resolution: str
    tier: str
    unit: str
    price_micro: int
    quantity: int
    amount_micro: int
    charged_micro: int
    refunded_micro: int


class LineLeft(msgspec.Struct, frozen=True):
    """What of a line of usage was not given back yet."""

    line: int
    left_micro: int


class Taken(msgspec.Struct, frozen=True):
    snapshot: str
    at: datetime


class Number(msgspec.Struct, frozen=True):
    number: int


class Stored(msgspec.Struct, frozen=True):
    """`document` is JSON."""

    id: UUID
    document: bytes


class Amount(msgspec.Struct, frozen=True):
    amount_micro: int


LOCK_CONTRACTS = Query(
    ContractRow,
    """
    SELECT s.id, s.customer_id, s.plan, s.state, s.anchor, s.starts_at, s.ends_at, s.period_starts_at, s.period_ends_at,
           c.time_zone, coalesce(s.closed_through, (
               SELECT p.closed_through FROM billing.subscription p
               WHERE p.customer_id = s.customer_id AND p.closed_through IS NOT NULL ORDER BY p.starts_at DESC LIMIT 1
           ))::text AS closed_through
    FROM billing.subscription s JOIN billing.customer c ON c.id = s.customer_id
    WHERE s.state IN ('active', 'past_due') AND s.plan ->> 'kind' = 'contract' AND s.due_at <= (SELECT billing.now())
    ORDER BY s.due_at, s.id LIMIT $1 FOR UPDATE OF s SKIP LOCKED
    """,
)
POSTPONE = Command("UPDATE billing.subscription SET due_at = billing.now() + $2::interval WHERE id = $1")
TAKE_SNAPSHOT = Query(Taken, "SELECT pg_current_snapshot()::text AS snapshot, billing.now() AS at")
SAW = Command("UPDATE billing.subscription SET closed_through = $2::text::pg_snapshot WHERE id = $1")

# Everything on account $1 that no invoice stands for yet: ordered since $2, or not seen by the last close, which saw $4. Each
# charge is counted by the seconds or images that this account paid for. The price is what one cost, rounded up.
_TOLD = """
    WITH moved AS (
        SELECT t.subject_id, width_bucket(h.created_at, $3::timestamptz[]) AS bucket, -sum(e.amount)::bigint AS amount,
               coalesce(-sum(e.amount) FILTER (WHERE t.kind = 'capture'), 0)::bigint AS charged
        FROM billing.entry e
        JOIN billing.transfer t ON t.id = e.transfer_id AND t.kind IN ('capture', 'refund')
        JOIN billing.hold h ON h.id = t.subject_id AND h.account_id = e.account_id
        WHERE e.account_id = $1 AND (h.created_at >= $2 OR $4::text IS NULL
                                     OR NOT pg_visible_in_snapshot(t.xid, $4::text::pg_snapshot))
        GROUP BY t.subject_id, h.created_at
    ), told AS (
        SELECT m.subject_id, m.bucket, m.amount, m.charged, coalesce(s.model, '') AS model,
               coalesce(s.resolution, '') AS resolution,
               coalesce(s.tier, '') AS tier, CASE WHEN u.images > 0 THEN 'image' ELSE 'ms' END AS unit,
               coalesce(
                   CASE WHEN u.images > 0 THEN u.gross_micro + u.images - 1 ELSE u.gross_micro * 1000 + u.billed_ms - 1 END
                   / nullif(CASE WHEN u.images > 0 THEN u.images ELSE u.billed_ms END, 0), 0)::bigint AS price_micro,
               (CASE WHEN u.images > 0 THEN u.images ELSE u.billed_ms - u.seconds_ms END)::numeric * m.amount
                   / nullif(u.granted_micro + u.net_micro, 0) AS quantity
        FROM moved m
        LEFT JOIN (billing.usage u JOIN billing.usage_series s ON s.id = u.series_id AND s.kind = 'charge')
            ON u.subject_id = m.subject_id
    )
"""
USED = Query(
    Used,
    _TOLD + """
    SELECT bucket, model, resolution, tier, unit, price_micro, coalesce(trunc(sum(quantity)), 0)::bigint AS quantity,
           sum(amount)::bigint AS amount_micro, sum(charged)::bigint AS charged_micro,
           coalesce(sum(charged - amount) FILTER (WHERE charged > 0), 0)::bigint AS refunded_micro
    FROM told GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1 DESC, 2, 3, 4, 5, 6
    """,
)  # fmt: skip
# On which line each of these jobs is charged: $5 the document, then for each line its number and what it is of.
BILL = Command(
    _TOLD + """
    INSERT INTO billing.billed (subject_id, invoice_id, line)
    SELECT subject_id, $5, l.line
    FROM told JOIN unnest($6::smallint[], $7::int[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[])
        AS l (line, bucket, model, resolution, tier, unit, price_micro) USING (bucket, model, resolution, tier, unit, price_micro)
    WHERE charged > 0
    """
)  # fmt: skip
ADD_LINES = Command("""
    INSERT INTO billing.billed_line (invoice_id, line, charged_micro, refunded_micro)
    SELECT $1, * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[])
""")
LINES = Query(
    LineLeft,
    """
    SELECT line::int, charged_micro - refunded_micro - credited_micro AS left_micro FROM billing.billed_line WHERE invoice_id = $1
    """,
)
JOBS_OF_INVOICE = Query(
    JobOfLine,
    """
    SELECT b.line::int, b.subject_id, h.created_at AS ordered_at, h.captured AS charged_micro, h.refunded AS refunded_micro
    FROM billing.billed b JOIN billing.hold h ON h.id = b.subject_id
    JOIN billing.grant g ON g.account_id = h.account_id AND g.kind = 'credit'
    WHERE b.invoice_id = $1 ORDER BY b.line, h.created_at, b.subject_id
    """,
)
CREDIT_LINES = Command("""
    UPDATE billing.billed_line l SET credited_micro = l.credited_micro + u.amount
    FROM unnest($2::smallint[], $3::bigint[]) AS u (line, amount) WHERE l.invoice_id = $1 AND l.line = u.line
""")
COUNTED = Query(
    Amount,
    """
    SELECT coalesce(sum(counted_micro), 0)::bigint AS amount_micro FROM billing.invoice
    WHERE subscription_id = $1 AND period_starts_at >= $2
    """,
)

NEXT_NUMBER = Query(
    Number,
    """
    INSERT INTO billing.invoice_number AS n (seller, kind, year, last) VALUES ($1, $2, $3, 1)
    ON CONFLICT (seller, kind, year) DO UPDATE SET last = n.last + 1 RETURNING last AS number
    """,
)
ADD_INVOICE = Command("""
    INSERT INTO billing.invoice (id, kind, seller, year, sequence, number, customer_id, subscription_id, corrects, currency,
                                 period_starts_at, period_ends_at, net_minor, tax_minor, total_minor, paid_minor, counted_micro,
                                 document)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
""")

LOCK_SALES = Query(
    SaleRow,
    """
    SELECT id, customer_id, subscription_id, grant_id, returns, payer, currency, treatment, line, net_minor, tax_minor,
           period_starts_at, period_ends_at, created_at
    FROM billing.sale WHERE invoice_id IS NULL AND net_minor + tax_minor > 0
    ORDER BY created_at, returns NULLS FIRST, id LIMIT $1 FOR UPDATE SKIP LOCKED
    """,
)
INVOICE_OF_SALE = Query(
    Stored,
    """
    SELECT i.id, i.document FROM billing.sale s JOIN billing.invoice i ON i.id = s.invoice_id WHERE s.id = $1
    """,
)
MARK_SALE = Command("UPDATE billing.sale SET invoice_id = $2 WHERE id = $1")

INVOICE = Query(Stored, "SELECT id, document FROM billing.invoice WHERE id = $1 AND customer_id = $2")
CORRECTIONS = Query(Stored, "SELECT id, document FROM billing.invoice WHERE corrects = $1 ORDER BY position")
INVOICES = Query(
    Stored,
    """
    SELECT id, document FROM billing.invoice
    WHERE customer_id = $1 AND ($2::uuid IS NULL OR position < (
        SELECT before.position FROM billing.invoice before WHERE before.id = $2 AND before.customer_id = $1))
    ORDER BY position DESC LIMIT $3
    """,
)
