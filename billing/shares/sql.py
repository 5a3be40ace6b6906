"""Every statement of shares."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.shares.model import IncomeKind, Payee, Payout, ViewPool


class AgreementRow(msgspec.Struct, frozen=True):
    """`parties` is JSON, null where the agreement ended."""

    id: UUID
    subject: str
    kind: IncomeKind
    currency: str
    effective_on: date
    parties: str | None


class StoredStatement(msgspec.Struct, frozen=True):
    id: UUID
    currency: str
    total_micro: int
    digest: bytes
    settled: bool


class StoredIncome(msgspec.Struct, frozen=True):
    """An income and how much of it was taken back; `parties` is JSON."""

    id: UUID
    agreement_id: UUID
    subject: str
    kind: IncomeKind
    amount_micro: int
    taken_micro: int
    parties: str


class Owed(msgspec.Struct, frozen=True):
    payee_id: UUID
    posted: int


class Counted(msgspec.Struct, frozen=True):
    payee_id: UUID
    views: int
    shared_micro: int


class Revision(msgspec.Struct, frozen=True):
    revision: int


class Line(msgspec.Struct, frozen=True):
    """A movement of what is owed to a payee. `basis` says how a share came about."""

    at: datetime
    kind: str
    amount_micro: int
    basis: str | None
    subject: str | None
    transfer_id: UUID


class Sum(msgspec.Struct, frozen=True):
    amount_micro: int


# Taken in a statement of its own: the next one must see what its former holder committed.
LOCK = Command("SELECT pg_advisory_xact_lock(hashtextextended('shares/' || $1::text, 0))")

_PAYEE = "id, reference, name, currency, threshold_micro, verified, destination"
ADD_PAYEE = Command("""
    INSERT INTO billing.payee (id, reference, name, currency, threshold_micro) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (reference) DO NOTHING
""")
SET_PAYEE = Command("UPDATE billing.payee SET verified = $2, destination = $3, threshold_micro = $4 WHERE id = $1")
PAYEES = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee WHERE reference = ANY($1::text[])")
ALL_PAYEES = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee ORDER BY reference")
PAYEES_BY_ID = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee WHERE id = ANY($1::uuid[])")

# Of those who are to be paid out, until the end of the transaction.
LOCK_OWED = Query(
    Owed,
    """
    SELECT u.payee_id, b.posted FROM unnest($1::uuid[], $2::uuid[]) AS u (payee_id, account_id)
    JOIN billing.balance b ON b.account_id = u.account_id ORDER BY b.account_id FOR UPDATE OF b
    """,
)

_AGREEMENT = "id, subject, kind, currency, effective_on, parties::text AS parties"
ADD_AGREEMENT = Command("""
    INSERT INTO billing.agreement (id, subject, kind, currency, effective_on, parties) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (subject, effective_on) DO NOTHING
""")
AGREEMENTS = Query(
    AgreementRow,
    "SELECT " + _AGREEMENT + " FROM billing.agreement WHERE subject = ANY($1::text[]) ORDER BY subject, effective_on",
)
AGREEMENT_ON = Query(AgreementRow, "SELECT " + _AGREEMENT + " FROM billing.agreement WHERE subject = $1 AND effective_on = $2")

STATEMENT = Query(
    StoredStatement,
    "SELECT id, currency, total_micro, digest, settled FROM billing.income_statement WHERE id = $1",
)
ADD_STATEMENT = Command("""
    INSERT INTO billing.income_statement (id, network, reference, currency, total_micro, digest) VALUES ($1, $2, $3, $4, $5, $6)
""")
SETTLE_STATEMENT = Command("UPDATE billing.income_statement SET settled = true WHERE id = $1 AND NOT settled")
INCOMES = Query(
    StoredIncome,
    """
    SELECT i.id, i.agreement_id, a.subject, a.kind, i.amount_micro,
           coalesce((SELECT -sum(t.amount_micro) FROM billing.income t WHERE t.takes_back = i.id), 0)::bigint AS taken_micro,
           a.parties::text AS parties
    FROM billing.income i JOIN billing.agreement a ON a.id = i.agreement_id WHERE i.id = ANY($1::uuid[])
    """,
)
ADD_INCOMES = Command("""
    INSERT INTO billing.income (id, statement_id, row, agreement_id, occurred_on, amount_micro, takes_back)
    SELECT u.id, $8, u.row, u.agreement_id, u.occurred_on, u.amount_micro, u.takes_back
    FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::date[], $5::bigint[], $6::uuid[]) WITH ORDINALITY
        AS u (id, row, agreement_id, occurred_on, amount_micro, takes_back, nth)
    WHERE cardinality($1::uuid[]) = $7 ORDER BY u.nth
""")
ADD_SHARES = Command("""
    INSERT INTO billing.share (id, payee_id, income_id, pool_id, revision, basis, amount_micro)
    SELECT u.id, u.payee_id, u.income_id, u.pool_id, u.revision, u.basis, u.amount_micro
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::bigint[])
        AS u (id, payee_id, income_id, pool_id, revision, basis, amount_micro)
""")

_POOL = "id, name, starts_on, ends_on, currency, pool_micro, closes_at, closed_at"
ADD_POOL = Command("""
    INSERT INTO billing.view_pool (id, name, starts_on, ends_on, currency, pool_micro, closes_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name, starts_on) DO NOTHING
""")
POOLS = Query(ViewPool, "SELECT " + _POOL + " FROM billing.view_pool ORDER BY starts_on, name")
LOCK_POOL = Query(ViewPool, "SELECT " + _POOL + " FROM billing.view_pool WHERE name = $1 AND starts_on = $2 FOR UPDATE")
DUE_POOL = Query(
    ViewPool,
    "SELECT " + _POOL + """ FROM billing.view_pool p WHERE p.closed_at IS NULL AND p.closes_at <= billing.now()
      AND EXISTS (SELECT FROM billing.view_count c WHERE c.pool_id = p.id)
    ORDER BY p.closes_at, p.id LIMIT 1 FOR UPDATE
    """,
)  # fmt: skip
CLOSE_POOL = Command("UPDATE billing.view_pool SET closed_at = billing.now() WHERE id = $1")
LAST_REVISION = Query(Revision, "SELECT coalesce(max(revision), 0) AS revision FROM billing.view_count WHERE pool_id = $1")
ADD_COUNTS = Command("""
    INSERT INTO billing.view_count (pool_id, revision, payee_id, views)
    SELECT $1, $2, u.payee_id, u.views FROM unnest($3::uuid[], $4::bigint[]) AS u (payee_id, views)
""")
# Everybody who is counted now, or has had a share of the pool.
COUNTED = Query(
    Counted,
    """
    SELECT p.id AS payee_id, coalesce(c.views, 0) AS views, coalesce(s.amount_micro, 0)::bigint AS shared_micro
    FROM billing.payee p
    LEFT JOIN billing.view_count c ON c.payee_id = p.id AND c.pool_id = $1 AND c.revision = $2
    LEFT JOIN (SELECT payee_id, sum(amount_micro) AS amount_micro FROM billing.share WHERE pool_id = $1 GROUP BY payee_id) s
        ON s.payee_id = p.id
    WHERE c.payee_id IS NOT NULL OR s.payee_id IS NOT NULL ORDER BY p.id
    """,
)

_PAYOUT = "id, payee_id, currency, amount_micro, destination, state, outside_id, reason, created_at, ended_at"
PAYABLE = Query(
    Payee,
    "SELECT " + _PAYEE + """ FROM billing.payee p WHERE p.verified AND p.destination IS NOT NULL
      AND NOT EXISTS (SELECT FROM billing.payout o WHERE o.payee_id = p.id AND o.state IN ('due', 'sent'))
    ORDER BY p.id
    """,
)  # fmt: skip
ADD_PAYOUT = Command("""
    INSERT INTO billing.payout (id, payee_id, currency, amount_micro, destination) VALUES ($1, $2, $3, $4, $5)
""")
OPEN_PAYOUTS = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout WHERE state IN ('due', 'sent') ORDER BY created_at, id")
PAYOUTS_OF = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout WHERE payee_id = $1 ORDER BY created_at, id")
LOCK_PAYOUT = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout WHERE id = $1 FOR UPDATE")
CHANGE_PAYOUT = Command("""
    UPDATE billing.payout SET state = $2, outside_id = coalesce($3, outside_id), reason = $4,
        ended_at = CASE WHEN $2 IN ('paid', 'failed') THEN billing.now() END
    WHERE id = $1
""")

BALANCE_BEFORE = Query(
    Sum,
    """
    SELECT coalesce(sum(e.amount), 0)::bigint AS amount_micro
    FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id
    WHERE e.account_id = $1 AND t.created_at < coalesce($2::timestamptz, 'infinity')
    """,
)
LINES = Query(
    Line,
    """
    SELECT t.created_at AS at, t.kind, e.amount AS amount_micro, s.basis, a.subject, t.id AS transfer_id
    FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id
    LEFT JOIN billing.share s ON s.id = t.id
    LEFT JOIN billing.income i ON i.id = s.income_id LEFT JOIN billing.agreement a ON a.id = i.agreement_id
    WHERE e.account_id = $1 AND t.created_at >= $2 AND t.created_at < $3 ORDER BY t.created_at, t.id
    """,
)
