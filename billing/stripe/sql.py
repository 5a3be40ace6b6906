"""Every statement of payments. A payment's row is locked before its refunds, disputes and balances."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.stripe.model import DisputeState, Payer, Payment, PaymentRefund, SavedMethod


class Id(msgspec.Struct, frozen=True):
    id: UUID


class Named(msgspec.Struct, frozen=True):
    """Something by Stripe's id."""

    id: str


class Now(msgspec.Struct, frozen=True):
    at: datetime


class Open(msgspec.Struct, frozen=True):
    """What is left to pay of an invoice."""

    id: UUID
    amount_minor: int


class Amount(msgspec.Struct, frozen=True):
    amount_minor: int


class ADay(msgspec.Struct, frozen=True):
    day: date


class Known(msgspec.Struct, frozen=True):
    known: bool


class LowWallet(msgspec.Struct, frozen=True):
    """A wallet to recharge, and what was recharged in `month` already."""

    customer_id: UUID
    currency: str
    method_id: str
    recharge_minor: int
    month_max_minor: int
    return_url: str
    month: str
    nth: int
    month_minor: int


class Collecting(msgspec.Struct, frozen=True):
    """An invoice whose next step is due."""

    invoice_id: UUID
    customer_id: UUID
    state: Literal["open", "past_due", "settled"]
    step: int
    due_at: datetime


class DisputeRow(msgspec.Struct, frozen=True):
    """A stored dispute and how many of its movements are known."""

    stripe_id: str
    payment_id: UUID
    amount_minor: int
    state: DisputeState
    taken_minor: int
    known: int


class Sent(msgspec.Struct, frozen=True):
    """What was paid to a payee, or taken back of that."""

    id: UUID
    currency: str
    amount_micro: int


class EventRow(msgspec.Struct, frozen=True):
    """An event that is being worked on."""

    id: str
    type: str
    object_kind: str
    object_id: str
    tries: int


class TransactionRow(msgspec.Struct, frozen=True):
    """A movement of Stripe's balance as it is stored."""

    id: str
    type: str
    source_id: str | None
    currency: str
    amount_minor: int
    fee_minor: int
    created_at: datetime
    transfer_id: UUID | None
    booked_at: datetime | None


NOW = Query(Now, "SELECT billing.now() AS at")

# -- payers ------------------------------------------------------------------------------------------------------------
ADD_PAYER = Command("INSERT INTO billing.payer (customer_id) VALUES ($1) ON CONFLICT DO NOTHING")
_PAYER = """
    SELECT customer_id, stripe_id, lost, told, tax_id_state, method_id, collects, threshold_micro, recharge_minor,
           month_max_minor, return_url, paused
    FROM billing.payer
"""
PAYER = Query(Payer, _PAYER + " WHERE customer_id = $1")
PAYER_KNOWN_AS = Command("UPDATE billing.payer SET stripe_id = $2 WHERE customer_id = $1 AND stripe_id IS NULL")
PAYER_LOST = Command("""
    UPDATE billing.payer SET stripe_id = NULL, lost = lost + 1, told = '', method_id = NULL WHERE stripe_id = $1
""")
PAYER_TOLD = Command("UPDATE billing.payer SET told = $2, tax_id_state = $3 WHERE customer_id = $1")
PAYER_AT_STRIPE = Query(Payer, _PAYER + " WHERE stripe_id = $1 FOR UPDATE")
PAYER_CHARGES = Command("UPDATE billing.payer SET method_id = $2 WHERE customer_id = $1")
PAYER_PAYS = Command("""
    UPDATE billing.payer SET collects = $2, threshold_micro = $3, recharge_minor = $4, month_max_minor = $5, return_url = $6,
           paused = ''
    WHERE customer_id = $1
""")
PAUSE = Command("UPDATE billing.payer SET paused = $2 WHERE customer_id = $1 AND paused = ''")

# -- what is charged while the customer is away ------------------------------------------------------------------------
METHODS = Query(
    SavedMethod, "SELECT id, kind, label, expires FROM billing.payment_method WHERE customer_id = $1 ORDER BY created_at DESC, id"
)
METHOD_OWNER = Query(Id, "SELECT customer_id AS id FROM billing.payment_method WHERE id = $1")
ADD_METHODS = Command("""
    INSERT INTO billing.payment_method (id, customer_id, kind, label, expires)
    SELECT u.id, $1, u.kind, u.label, u.expires
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS u (id, kind, label, expires)
    ON CONFLICT (id) DO UPDATE SET label = excluded.label, expires = excluded.expires
""")
FORGET_METHODS = Command("DELETE FROM billing.payment_method WHERE customer_id = $1 AND id <> ALL($2::text[])")
# Wallets that have less left than their customers want, with what was recharged in this month of theirs. `nth` counts what was
# tried before, so that the next one is another payment.
LOCK_LOW_WALLETS = Query(
    LowWallet,
    """
    SELECT p.customer_id, c.currency, p.method_id, p.recharge_minor, p.month_max_minor, p.return_url,
           to_char(billing.now() AT TIME ZONE c.time_zone, 'YYYY-MM') AS month,
           (SELECT count(*) FROM billing.payment r WHERE r.customer_id = p.customer_id AND r.purpose = 'recharge')::int AS nth,
           (SELECT coalesce(sum(r.amount_minor), 0) FROM billing.payment r
            WHERE r.customer_id = p.customer_id AND r.purpose = 'recharge' AND r.state <> 'failed'
              AND date_trunc('month', r.created_at AT TIME ZONE c.time_zone)
                  = date_trunc('month', billing.now() AT TIME ZONE c.time_zone))::bigint AS month_minor
    FROM billing.payer p JOIN billing.customer c ON c.id = p.customer_id
    WHERE p.threshold_micro IS NOT NULL AND p.paused = '' AND p.method_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM billing.payment r WHERE r.customer_id = p.customer_id AND r.purpose = 'recharge'
                      AND r.state IN ('created', 'open'))
      AND p.threshold_micro > (
          SELECT coalesce(sum(b.posted - b.held - b.floor), 0) FROM billing.wallet w
          JOIN billing.grant g ON g.wallet_id = w.id AND coalesce(g.expires_at, 'infinity') > billing.now()
          JOIN billing.balance b ON b.account_id = g.account_id
          WHERE w.customer_id = p.customer_id AND w.book = 'live' AND w.asset = c.currency)
    ORDER BY p.customer_id LIMIT $1 FOR UPDATE OF p SKIP LOCKED
    """,
)

# -- what is collected -------------------------------------------------------------------------------------------------
ADD_COLLECTIONS = Command("""
    INSERT INTO billing.collection (invoice_id, customer_id)
    SELECT i.id, i.customer_id FROM billing.invoice i
    WHERE i.kind = 'invoice' AND i.total_minor > i.paid_minor
      AND NOT EXISTS (SELECT FROM billing.collection c WHERE c.invoice_id = i.id)
    ORDER BY i.position LIMIT $1 ON CONFLICT DO NOTHING
""")
LOCK_COLLECTIONS = Query(
    Collecting,
    """
    SELECT invoice_id, customer_id, state, step, due_at FROM billing.collection
    WHERE due_at <= (SELECT billing.now()) ORDER BY due_at, invoice_id LIMIT $1 FOR UPDATE SKIP LOCKED
    """,
)
COLLECTION_IS = Command("UPDATE billing.collection SET state = $2, step = $3, due_at = $4 WHERE invoice_id = $1")
LOOK_AGAIN = Command("UPDATE billing.collection SET due_at = billing.now() WHERE invoice_id::text = $1")
OTHERS_PAST_DUE = Query(
    Known,
    """
    SELECT EXISTS (SELECT FROM billing.collection WHERE customer_id = $1 AND state = 'past_due' AND invoice_id <> $2) AS known
    """,
)
PAYING_INVOICE = Query(
    Known,
    """
    SELECT EXISTS (SELECT FROM billing.payment WHERE purpose = 'invoice' AND subject = $1::uuid::text AND flow = 'saved'
                   AND state IN ('created', 'open')) AS known
    """,
)

# -- payments ----------------------------------------------------------------------------------------------------------
ADD_PAYMENT = Command("""
    INSERT INTO billing.payment (id, customer_id, purpose, subject, flow, methods, currency, amount_minor, return_url, saves)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING
""")
_COLUMNS = """
    id, customer_id, purpose, subject, flow, methods, currency, amount_minor, return_url, saves, state, intent_id, session_id,
    charge_id, received_minor, transfer_id, booked, failure, refused, created_at, ended_at, tries
"""
_PAYMENT = "SELECT " + _COLUMNS + " FROM billing.payment"
PAYMENT = Query(Payment, _PAYMENT + " WHERE id = $1")
LOCK_PAYMENT = Query(Payment, _PAYMENT + " WHERE id = $1 FOR UPDATE")
PAYMENTS = Query(
    Payment,
    _PAYMENT + """
    WHERE customer_id = $1 AND ($2::uuid IS NULL OR (created_at, id) < (
        SELECT before.created_at, before.id FROM billing.payment before WHERE before.id = $2 AND before.customer_id = $1))
    ORDER BY created_at DESC, id DESC LIMIT $3
    """,
)  # fmt: skip
# By Stripe's id where it is known, else by ours: a message may come before the answer that it is about.
PAYMENT_OF_INTENT = Query(Id, "SELECT id FROM billing.payment WHERE intent_id = $1")
BOOKED_INTENT = Query(Id, "SELECT id FROM billing.payment WHERE intent_id = $1 AND booked IS NOT NULL")
PAYMENT_OF_SESSION = Query(Id, "SELECT id FROM billing.payment WHERE session_id = $1")
PAYMENT_OF_CHARGE = Query(Payment, _PAYMENT + " WHERE charge_id = $1")
# Asked again sooner at first, then every six hours.
LEASE_PAYMENTS = Query(
    Payment,
    """
    UPDATE billing.payment SET tries = least(tries + 1, 100),
           due_at = billing.now() + least(interval '1 minute' * 2 ^ least(tries, 9), interval '6 hours')
    WHERE id IN (
        SELECT id FROM billing.payment WHERE state IN ('created', 'open') AND due_at <= (SELECT billing.now())
        ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING """ + _COLUMNS,
)  # fmt: skip
PAYMENT_KNOWN = Command("""
    UPDATE billing.payment SET state = CASE state WHEN 'created' THEN 'open' ELSE state END,
           intent_id = coalesce(intent_id, $2), session_id = coalesce(session_id, $3), charge_id = coalesce($4, charge_id)
    WHERE id = $1
""")
PAYMENT_SUCCEEDED = Command("""
    UPDATE billing.payment SET state = 'succeeded', intent_id = $2, received_minor = $3, transfer_id = $4, booked = $5,
           refused = $6, failure = '', ended_at = billing.now()
    WHERE id = $1
""")
PAYMENT_FAILED = Command("""
    UPDATE billing.payment SET state = 'failed', failure = $2, ended_at = billing.now()
    WHERE id = $1 AND state IN ('created', 'open')
""")

# What is left to pay of invoices of customer $1: what each says is due, less credit notes, less what was paid and not taken
# back, by wire too, and less what was given up.
_OPEN = """(i.total_minor - i.paid_minor
        - (SELECT coalesce(sum(c.total_minor), 0) FROM billing.invoice c WHERE c.corrects = i.id)
        - (SELECT coalesce(sum(s.invoice_minor), 0) FROM billing.settlement s WHERE s.invoice_id = i.id AND s.undone_at IS NULL)
        - (SELECT coalesce(sum(p.received_minor), 0) FROM billing.payment p
           WHERE p.purpose = 'invoice' AND p.subject = i.id::text AND p.booked = 'receivable')
        + (SELECT coalesce(sum(r.amount_minor), 0) FROM billing.payment p JOIN billing.payment_refund r ON r.payment_id = p.id
           WHERE p.purpose = 'invoice' AND p.subject = i.id::text AND p.booked = 'receivable' AND r.state <> 'failed')
        + (SELECT coalesce(sum(d.taken_minor), 0) FROM billing.payment p JOIN billing.dispute d ON d.payment_id = p.id
           WHERE p.purpose = 'invoice' AND p.subject = i.id::text AND p.booked = 'receivable'))::bigint AS amount_minor
    FROM billing.invoice i WHERE i.customer_id = $1 AND i.kind = 'invoice'
"""
OPEN_OF_INVOICE = Query(Amount, "SELECT " + _OPEN + " AND i.id = $2")
OPEN_INVOICES = Query(Open, "SELECT i.id, " + _OPEN)

# -- money back --------------------------------------------------------------------------------------------------------
_REFUND_COLUMNS = "id, payment_id, amount_minor, reason, ours, state, stripe_id, gone, created_at, tries"
_REFUND = "SELECT " + _REFUND_COLUMNS + " FROM billing.payment_refund"
ADD_REFUND = Command("""
    INSERT INTO billing.payment_refund (id, payment_id, amount_minor, reason, ours, stripe_id) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO NOTHING
""")
REFUND = Query(PaymentRefund, _REFUND + " WHERE id = $1")
REFUND_AT_STRIPE = Query(PaymentRefund, _REFUND + " WHERE stripe_id = $1")
REFUND_IS = Command("UPDATE billing.payment_refund SET state = $2, stripe_id = coalesce($3, stripe_id), gone = $4 WHERE id = $1")
LEASE_REFUNDS = Query(
    PaymentRefund,
    """
    UPDATE billing.payment_refund SET tries = least(tries + 1, 100),
           due_at = billing.now() + least(interval '1 minute' * 2 ^ least(tries, 9), interval '6 hours')
    WHERE id IN (
        SELECT id FROM billing.payment_refund WHERE state IN ('created', 'open') AND due_at <= (SELECT billing.now())
        ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING """ + _REFUND_COLUMNS,
)  # fmt: skip
# What was given back of payment $1, or is being taken back by the customer's bank.
GIVEN_BACK = Query(
    Amount,
    """
    SELECT ((SELECT coalesce(sum(amount_minor), 0) FROM billing.payment_refund WHERE payment_id = $1 AND state <> 'failed')
          + (SELECT coalesce(sum(taken_minor), 0) FROM billing.dispute WHERE payment_id = $1))::bigint AS amount_minor
    """,
)
DISPUTE = Query(
    DisputeRow,
    """
    SELECT stripe_id, payment_id, amount_minor, state, taken_minor,
           (SELECT count(*) FROM billing.stripe_transaction t WHERE t.source_id = stripe_id)::int AS known
    FROM billing.dispute WHERE stripe_id = $1
    """,
)
SET_DISPUTE = Command("""
    INSERT INTO billing.dispute AS d (stripe_id, payment_id, amount_minor, reason, state, taken_minor)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (stripe_id) DO UPDATE SET state = excluded.state, taken_minor = excluded.taken_minor
""")
LEASE_DISPUTES = Query(
    Named,
    """
    UPDATE billing.dispute SET due_at = billing.now() + interval '6 hours'
    WHERE stripe_id IN (
        SELECT stripe_id FROM billing.dispute WHERE state = 'open' AND due_at <= (SELECT billing.now())
        ORDER BY due_at, stripe_id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING stripe_id AS id
    """,
)

# -- events ------------------------------------------------------------------------------------------------------------
ADD_EVENT = Command("""
    INSERT INTO billing.stripe_event (id, type, object_kind, object_id, body, sent_at) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO NOTHING
""")
# Who takes an event has half a minute for it; then it is anybody's again.
LEASE_EVENTS = Query(
    EventRow,
    """
    UPDATE billing.stripe_event SET tries = least(tries + 1, 100),
           due_at = billing.now() + interval '30 seconds' * 2 ^ least(tries, 9)
    WHERE id IN (
        SELECT id FROM billing.stripe_event WHERE done_at IS NULL AND due_at <= (SELECT billing.now())
        ORDER BY received_at, id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING id, type, object_kind, object_id, tries
    """,
)
EVENTS_DONE = Command("UPDATE billing.stripe_event SET done_at = billing.now(), failure = '' WHERE id = ANY($1::text[])")
EVENTS_FAILED = Command("UPDATE billing.stripe_event SET failure = $2 WHERE id = ANY($1::text[])")

# -- days --------------------------------------------------------------------------------------------------------------
# The day before this one (UTC), and days of the last two weeks that left something to do.
DAYS_TO_RECONCILE = Query(
    ADay,
    """
    SELECT d.day FROM (SELECT (billing.now() AT TIME ZONE 'UTC')::date - n AS day FROM generate_series(1, 14) n) d
    LEFT JOIN billing.reconciliation r ON r.day = d.day
    WHERE r.raised > 0 OR (r.day IS NULL AND d.day = (billing.now() AT TIME ZONE 'UTC')::date - 1) ORDER BY d.day
    """,
)
SET_RECONCILIATION = Command("""
    INSERT INTO billing.reconciliation (day, raised, report) VALUES ($1, $2, $3)
    ON CONFLICT (day) DO UPDATE SET raised = excluded.raised, report = excluded.report, made_at = billing.now()
""")

# -- Stripe's own account ----------------------------------------------------------------------------------------------
ADD_TRANSACTION = Command("""
    INSERT INTO billing.stripe_transaction (id, type, source_id, currency, amount_minor, fee_minor, exchange_rate, description,
                                            created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING
""")
LOCK_TRANSACTION = Query(
    TransactionRow,
    """
    SELECT id, type, source_id, currency, amount_minor, fee_minor, created_at, transfer_id, booked_at
    FROM billing.stripe_transaction WHERE id = $1 FOR UPDATE
    """,
)
TRANSACTION_BOOKED = Command("""
    UPDATE billing.stripe_transaction SET transfer_id = $2, booked_at = billing.now() WHERE id = $1
""")
PAYOUT_SENT = Query(Sent, "SELECT id, currency, amount_micro FROM billing.payout WHERE outside_id = $1 AND state = 'paid'")
PAYOUT_REVERSED = Query(
    Sent,
    """
    SELECT p.id, p.currency, r.amount_micro FROM billing.payout_reversal r JOIN billing.payout p ON p.id = r.payout_id
    WHERE r.id = $1
    """,
)
NEWEST_TRANSACTION = Query(Now, "SELECT coalesce(max(created_at), '2000-01-01') AS at FROM billing.stripe_transaction")
NOT_BOOKED = Query(
    TransactionRow,
    """
    SELECT id, type, source_id, currency, amount_minor, fee_minor, created_at, transfer_id, booked_at
    FROM billing.stripe_transaction WHERE booked_at IS NULL ORDER BY created_at, id LIMIT $1
    """,
)
