"""Every statement of shares."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.shares.model import Accrual, IncomeKind, Payee, Payout, TakenIn, ViewPool


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


class Known(msgspec.Struct, frozen=True):
    known: bool


class Spoken(msgspec.Struct, frozen=True):
    currency: str
    amount_micro: int


class Account(msgspec.Struct, frozen=True):
    """An account at Stripe, by Stripe's id."""

    id: str


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

_PAYEE = """
    id, reference, name, currency, threshold_micro, verified, destination, connected, requirements, held, short_since,
    customer_id, version
"""
ADD_PAYEE = Command("""
    INSERT INTO billing.payee (id, reference, name, currency, threshold_micro) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (reference) DO NOTHING
""")
SET_PAYEE = Command("""
    UPDATE billing.payee SET verified = $2, destination = $3, threshold_micro = $4, name = $5, held = $6, customer_id = $7,
           version = version + 1
    WHERE id = $1
""")
LOCK_PAYEE = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee WHERE reference = $1 FOR UPDATE")
PAYEES = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee WHERE reference = ANY($1::text[])")
ALL_PAYEES = Query(Payee, "SELECT " + _PAYEE + " FROM billing.payee ORDER BY reference")
HAS_CUSTOMER = Query(Known, "SELECT true AS known FROM billing.customer WHERE id = $1")
OWED = Query(
    Owed,
    """
    SELECT p.id AS payee_id, b.posted FROM billing.payee p
    JOIN billing.wallet w ON w.customer_id = p.id AND w.book = 'live' AND w.asset = p.currency
    JOIN billing.balance b ON b.wallet_id = w.id WHERE p.id = ANY($1::uuid[])
    """,
)
# Newest first, those of customer $1 or, where that is null, everybody.
PAYEE_PAGE = Query(
    Payee,
    "SELECT " + _PAYEE + """ FROM billing.payee WHERE ($1::uuid IS NULL OR customer_id = $1)
      AND ($2::uuid IS NULL OR (created_at, id) < (SELECT p.created_at, p.id FROM billing.payee p WHERE p.id = $2))
    ORDER BY created_at DESC, id DESC LIMIT $3
    """,
)  # fmt: skip
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

# Newest first, about subject $1 or, where that is null, about all.
AGREEMENT_PAGE = Query(
    AgreementRow,
    "SELECT " + _AGREEMENT + """ FROM billing.agreement WHERE ($1::text IS NULL OR subject = $1) AND ($2::uuid IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3
    """,
)  # fmt: skip

STATEMENT = Query(
    StoredStatement,
    "SELECT id, currency, total_micro, digest, settled FROM billing.income_statement WHERE id = $1",
)
STATEMENT_PAGE = Query(
    TakenIn,
    """
    SELECT id, network, reference, currency, total_micro, settled, created_at,
           (SELECT count(*) FROM billing.income i WHERE i.statement_id = s.id)::int AS rows
    FROM billing.income_statement s
    WHERE $1::uuid IS NULL OR (created_at, id) < (SELECT b.created_at, b.id FROM billing.income_statement b WHERE b.id = $1)
    ORDER BY created_at DESC, id DESC LIMIT $2
    """,
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
POOL = Query(ViewPool, "SELECT " + _POOL + " FROM billing.view_pool WHERE id = $1")
POOL_PAGE = Query(
    ViewPool,
    "SELECT " + _POOL + """ FROM billing.view_pool
    WHERE $1::uuid IS NULL OR (starts_on, id) < (SELECT b.starts_on, b.id FROM billing.view_pool b WHERE b.id = $1)
    ORDER BY starts_on DESC, id DESC LIMIT $2
    """,
)  # fmt: skip
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

_PAYOUT = """
    id, payee_id, currency, amount_micro, destination, state, outside_id, reason, created_at, ended_at, connected,
    (SELECT coalesce(sum(r.amount_micro), 0) FROM billing.payout_reversal r WHERE r.payout_id = p.id)::bigint AS reversed_micro
"""
# Who may be paid and is owed enough, who has waited longest first. A transfer that failed is not tried again for an hour.
PAYABLE = Query(
    Payee,
    "SELECT " + _PAYEE + """ FROM billing.payee p
    WHERE p.connected = $1 AND p.verified AND p.destination IS NOT NULL AND p.held IS NULL
      AND NOT EXISTS (SELECT FROM billing.payout o WHERE o.payee_id = p.id AND (o.state IN ('due', 'sent')
          OR o.connected AND o.state = 'failed' AND o.ended_at > billing.now() - interval '1 hour'))
      AND EXISTS (SELECT FROM billing.wallet w JOIN billing.balance b ON b.wallet_id = w.id
          WHERE w.customer_id = p.id AND w.book = 'live' AND w.asset = p.currency AND b.posted >= p.threshold_micro)
    ORDER BY p.short_since NULLS LAST, p.id
    """,
)  # fmt: skip
# What Stripe's balance, as it was read at $1, may still hold and is spoken for.
SPOKEN_FOR = Query(
    Spoken,
    """
    SELECT currency, sum(amount_micro)::bigint AS amount_micro FROM billing.payout
    WHERE connected AND (state = 'due' OR state = 'paid' AND ended_at >= $1) GROUP BY currency
    """,
)
# Of those in $1, the balance does not cover what is owed to those in $2.
SET_SHORT = Command("""
    UPDATE billing.payee SET short_since = CASE WHEN id = ANY($2::uuid[]) THEN billing.now() END, version = version + 1
    WHERE id = ANY($1::uuid[]) AND (short_since IS NULL) = (id = ANY($2::uuid[]))
""")
ADD_PAYOUT = Command("""
    INSERT INTO billing.payout (id, payee_id, currency, amount_micro, destination, connected) VALUES ($1, $2, $3, $4, $5, $6)
""")
PAYOUTS = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout p WHERE id = ANY($1::uuid[]) ORDER BY id")
OPEN_PAYOUTS = Query(
    Payout, "SELECT " + _PAYOUT + " FROM billing.payout p WHERE state IN ('due', 'sent') ORDER BY created_at, id"
)  # fmt: skip
PAYOUTS_OF = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout p WHERE payee_id = $1 ORDER BY created_at, id")
# Newest first, of payee $1 or, where that is null, of everybody.
PAYOUT_PAGE = Query(
    Payout,
    "SELECT " + _PAYOUT + """ FROM billing.payout p WHERE ($1::uuid IS NULL OR payee_id = $1) AND ($2::uuid IS NULL OR id < $2)
    ORDER BY id DESC LIMIT $3
    """,
)  # fmt: skip
LOCK_PAYOUT = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout p WHERE id = $1 FOR UPDATE")
CHANGE_PAYOUT = Command("""
    UPDATE billing.payout SET state = $2, outside_id = coalesce($3, outside_id), reason = $4,
        ended_at = CASE WHEN $2 IN ('paid', 'failed') THEN billing.now() END
    WHERE id = $1
""")

# -- connected accounts ------------------------------------------------------------------------------------------------
CONNECT = Command("""
    UPDATE billing.payee SET connected = true, destination = $2, verified = false, due_at = billing.now(), version = version + 1
    WHERE id = $1
""")
ACCOUNT_IS = Command("""
    UPDATE billing.payee SET verified = $2, requirements = $3, version = version + 1,
           due_at = least(due_at, billing.now() + interval '1 hour')
    WHERE connected AND destination = $1 AND (verified, requirements) IS DISTINCT FROM ($2, $3::text[])
""")
HOLD = Command("UPDATE billing.payee SET held = coalesce(held, $2), version = version + 1 WHERE id = $1")
# Asked about again in an hour while something is missing, else in a day: messages may be lost.
LEASE_ACCOUNTS = Query(
    Account,
    """
    UPDATE billing.payee SET due_at = billing.now() + CASE WHEN verified THEN interval '1 day' ELSE interval '1 hour' END
    WHERE id IN (
        SELECT id FROM billing.payee WHERE connected AND due_at <= (SELECT billing.now())
        ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING destination AS id
    """,
)
# Who takes a payout has a minute for it, then longer: then it is anybody's again.
LEASE_PAYOUTS = Query(
    Payout,
    """
    UPDATE billing.payout p SET tries = least(tries + 1, 100),
           due_at = billing.now() + least(interval '1 minute' * 2 ^ least(tries, 9), interval '6 hours')
    WHERE id IN (
        SELECT id FROM billing.payout WHERE connected AND state = 'due' AND due_at <= (SELECT billing.now())
        ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING """ + _PAYOUT,
)  # fmt: skip
PAYOUT_AT_STRIPE = Query(Payout, "SELECT " + _PAYOUT + " FROM billing.payout p WHERE connected AND outside_id = $1")
ADD_REVERSAL = Command("""
    INSERT INTO billing.payout_reversal (id, payout_id, amount_micro) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
""")

# What payee $1 got or gave back, the newest first.
ACCRUALS = Query(
    Accrual,
    """
    SELECT s.id, s.created_at, s.amount_micro, s.basis, a.subject, s.pool_id, s.revision
    FROM billing.share s LEFT JOIN billing.income i ON i.id = s.income_id LEFT JOIN billing.agreement a ON a.id = i.agreement_id
    WHERE s.payee_id = $1
      AND ($2::uuid IS NULL OR (s.created_at, s.id) < (SELECT b.created_at, b.id FROM billing.share b WHERE b.id = $2))
    ORDER BY s.created_at DESC, s.id DESC LIMIT $3
    """,
)
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
