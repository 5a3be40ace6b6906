"""Every statement of bank. Locks are taken in this order: a pool's month; balances, settlements, collections."""

from datetime import datetime

import msgspec

from billing.bank.model import Settlement, SupplierBill
from billing.kit.query import Command, Query


class Sums(msgspec.Struct, frozen=True):
    """Of a pool's month: what its attempts were accrued at, and what bills have added. `known`: anything was ever accrued."""

    accrued_micro: int
    booked_micro: int
    known: bool


class Month(msgspec.Struct, frozen=True):
    """`over`: it lies in the past."""

    starts_at: datetime
    ends_at: datetime
    over: bool


_SETTLEMENT = """
    SELECT id, kind, reference, customer_id, invoice_id, currency, amount_minor, invoice_minor, reason, created_at, undone_at,
           undone_because
    FROM billing.settlement
"""
SETTLEMENT = Query(Settlement, _SETTLEMENT + " WHERE id = $1")
LOCK_SETTLEMENT = Query(Settlement, _SETTLEMENT + " WHERE id = $1 AND customer_id = $2 FOR UPDATE")
SETTLEMENTS = Query(Settlement, _SETTLEMENT + " WHERE customer_id = $1 ORDER BY created_at DESC, id LIMIT $2")
ADD_SETTLEMENT = Query(
    Settlement,
    """
    INSERT INTO billing.settlement (id, kind, reference, customer_id, invoice_id, currency, amount_minor, invoice_minor, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING id, kind, reference, customer_id, invoice_id, currency, amount_minor, invoice_minor, reason, created_at, undone_at,
              undone_because
    """,
)
UNDONE = Command("UPDATE billing.settlement SET undone_at = billing.now(), undone_because = $2 WHERE id = $1")

BILL = Query(
    SupplierBill,
    """
    SELECT id, pool, month, reference, currency, billed_micro, accrued_micro, booked_micro, created_at
    FROM billing.supplier_bill WHERE id = $1
    """,
)
BILLS = Query(
    SupplierBill,
    """
    SELECT id, pool, month, reference, currency, billed_micro, accrued_micro, booked_micro, created_at
    FROM billing.supplier_bill ORDER BY month DESC, pool, position LIMIT $1
    """,
)
ADD_BILL = Command("""
    INSERT INTO billing.supplier_bill (id, pool, month, reference, currency, billed_micro, accrued_micro, booked_micro)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
""")
# Two bills of one month add their differences one after the other.
LOCK_MONTH = Command("SELECT pg_advisory_xact_lock(hashtextextended('supplier_bill/' || $1::text || '/' || $2::text, 0))")
MONTH = Query(
    Month,
    """
    SELECT starts_at, ends_at, ends_at <= billing.now() AS over
    FROM (SELECT $1::date::timestamp AT TIME ZONE 'UTC' AS starts_at,
                 ($1::date + interval '1 month') AT TIME ZONE 'UTC' AS ends_at) m
    """,
)
# $1, $2: the pool and the first day of its month; $3: the account of what is accrued for it; $4, $5: the month's moments.
SUMS = Query(
    Sums,
    """
    SELECT (SELECT coalesce(sum(e.amount), 0) FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id
            WHERE e.account_id = $3 AND e.booked_at >= $4 AND e.booked_at < $5 AND t.kind = 'cost')::bigint AS accrued_micro,
           (SELECT coalesce(sum(booked_micro), 0) FROM billing.supplier_bill WHERE pool = $1 AND month = $2)::bigint
               AS booked_micro,
           EXISTS (SELECT FROM billing.account WHERE id = $3) AS known
    """,
)
