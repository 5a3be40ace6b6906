"""Every statement of plans. Locks are taken in this order: subscriptions (by id), then those of the ledger."""

from datetime import date, datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.plans.model import Payer, State


class Document(msgspec.Struct, frozen=True):
    document: bytes


class SubscriptionRow(msgspec.Struct, frozen=True):
    """A stored subscription; `plan` is JSON."""

    id: UUID
    customer_id: UUID
    plan: bytes
    state: State
    anchor: date
    starts_at: datetime
    ends_at: datetime | None
    period_starts_at: datetime | None
    period_ends_at: datetime | None
    time_zone: str


class Now(msgspec.Struct, frozen=True):
    at: datetime


class Id(msgspec.Struct, frozen=True):
    id: UUID


class SaleRow(msgspec.Struct, frozen=True):
    """A stored sale; `treatment` and `line` are JSON."""

    id: UUID
    customer_id: UUID
    subscription_id: UUID | None
    grant_id: UUID
    returns: UUID | None
    payer: Payer
    currency: str
    treatment: bytes
    line: bytes
    net_minor: int
    tax_minor: int
    period_starts_at: datetime | None
    period_ends_at: datetime | None
    created_at: datetime


class GivenBack(msgspec.Struct, frozen=True):
    """What was given back of a sale so far, for seconds or by credit notes."""

    net_minor: int
    tax_minor: int


class GrantLeft(msgspec.Struct, frozen=True):
    """A grant of a customer's seconds with what no hold keeps of it."""

    account_id: UUID
    kind: str
    asset: str
    expires_at: datetime | None
    issued: int
    free: int


class EventRow(msgspec.Struct, frozen=True):
    """A stored event; `data` is JSON."""

    position: int
    id: UUID
    customer_id: UUID
    kind: str
    data: bytes
    created_at: datetime


class StandingRow(msgspec.Struct, frozen=True):
    """What a customer's plan means for admission."""

    customer_id: UUID
    budget: str | None
    past_due: bool


class BudgetRow(msgspec.Struct, frozen=True):
    """A stored budget; `every` is JSON."""

    id: UUID
    customer_id: UUID
    currency: str
    time_zone: str
    name: str
    every: bytes
    anchor: date
    amount_micro: int


class Spent(msgspec.Struct, frozen=True):
    amount_micro: int


class Pace(msgspec.Struct, frozen=True):
    """A wallet that was spent from in the last day. `topped_up`: the last money that came in."""

    customer_id: UUID
    wallet_id: UUID
    currency: str
    free_micro: int
    day_micro: int
    topped_up: UUID | None


class Known(msgspec.Struct, frozen=True):
    known: bool


# -- what is offered ---------------------------------------------------------------------------------------------------
ADD_CATALOGUE = Command("""
    INSERT INTO billing.catalogue (id, document)
    SELECT $1, $2 WHERE $2 IS DISTINCT FROM (SELECT document FROM billing.catalogue ORDER BY position DESC LIMIT 1)
""")
CATALOGUE = Query(Document, "SELECT document FROM billing.catalogue ORDER BY position DESC LIMIT 1")
NOW = Query(Now, "SELECT billing.now() AS at")

# -- subscriptions -----------------------------------------------------------------------------------------------------
_SUBSCRIPTION = """
    SELECT s.id, s.customer_id, s.plan, s.state, s.anchor, s.starts_at, s.ends_at, s.period_starts_at, s.period_ends_at,
           c.time_zone
    FROM billing.subscription s JOIN billing.customer c ON c.id = s.customer_id
"""
SUBSCRIPTIONS = Query(SubscriptionRow, _SUBSCRIPTION + " WHERE s.customer_id = $1 ORDER BY s.starts_at, s.created_at")
LOCK_SUBSCRIPTION = Query(
    SubscriptionRow, _SUBSCRIPTION + " WHERE s.customer_id = $1 AND s.state <> 'ended' ORDER BY s.id FOR UPDATE OF s"
)
SUBSCRIPTION = Query(SubscriptionRow, _SUBSCRIPTION + " WHERE s.id = $1")
# What another clerk is at is left to it. The periods of a contract end with an invoice.
LOCK_DUE = Query(
    SubscriptionRow,
    _SUBSCRIPTION + """
    WHERE s.state <> 'ended' AND s.due_at <= (SELECT billing.now())
      AND (s.state = 'scheduled' OR s.plan ->> 'kind' <> 'contract')
    ORDER BY s.due_at, s.id LIMIT $1 FOR UPDATE OF s SKIP LOCKED
    """,
)  # fmt: skip
ANY_TO_ROLL_OVER = Query(
    Known,
    """
    SELECT EXISTS (SELECT FROM billing.subscription WHERE state = 'active' AND plan ->> 'kind' = 'subscription'
                   AND due_at <= (SELECT billing.now())) AS known
    """,
)
ADD_SUBSCRIPTION = Query(
    Id,
    """
    INSERT INTO billing.subscription (id, customer_id, plan, state, anchor, starts_at, due_at)
    VALUES ($1, $2, $3, 'scheduled', $4, $5, $5) ON CONFLICT DO NOTHING RETURNING id
    """,
)
SAME_SUBSCRIPTION = Query(Known, "SELECT plan = $2 AND customer_id = $3 AS known FROM billing.subscription WHERE id = $1")
UPDATE_SUBSCRIPTION = Command("""
    UPDATE billing.subscription SET state = $2, anchor = $3, ends_at = $4, period_starts_at = $5, period_ends_at = $6, due_at = $7
    WHERE id = $1
""")

# -- sales -------------------------------------------------------------------------------------------------------------
ADD_SALE = Command("""
    INSERT INTO billing.sale (id, customer_id, subscription_id, grant_id, returns, payer, currency, treatment, line, net_minor,
                              tax_minor, period_starts_at, period_ends_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING
""")
_SALE = """
    SELECT id, customer_id, subscription_id, grant_id, returns, payer, currency, treatment, line, net_minor, tax_minor,
           period_starts_at, period_ends_at, created_at
    FROM billing.sale
"""
SALE = Query(SaleRow, _SALE + " WHERE id = $1")
SALE_OF_GRANT = Query(SaleRow, _SALE + " WHERE grant_id = $1 AND returns IS NULL")
SALE_OF_INVOICE = Query(SaleRow, _SALE + " WHERE customer_id = $1 AND invoice_id = $2 AND returns IS NULL")
GIVEN_BACK = Query(
    GivenBack,
    """
    SELECT coalesce(sum(net_minor), 0)::bigint AS net_minor, coalesce(sum(tax_minor), 0)::bigint AS tax_minor
    FROM billing.sale WHERE returns = $1
    """,
)
LEFT_OF_GRANTS = Query(
    GrantLeft,
    """
    SELECT g.account_id, g.kind, w.asset, g.expires_at, g.issued, b.posted - b.held AS free
    FROM billing.wallet w JOIN billing.grant g ON g.wallet_id = w.id JOIN billing.balance b ON b.account_id = g.account_id
    WHERE w.customer_id = $1 AND g.kind = ANY($2::text[]) AND g.expires_at = $3 AND b.posted - b.held > 0
    ORDER BY g.created_at DESC, g.account_id
    """,
)

# -- events ------------------------------------------------------------------------------------------------------------
LOCK_EVENTS = Command("SELECT pg_advisory_xact_lock(7281330401)")
ADD_EVENT = Command("""
    INSERT INTO billing.event (id, customer_id, kind, data) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING
""")
EVENTS_AFTER = Query(
    EventRow,
    """
    SELECT position, id, customer_id, kind, data, created_at FROM billing.event
    WHERE position > $1 AND ($2::uuid IS NULL OR customer_id = $2) ORDER BY position LIMIT $3
    """,
)

# -- what admission asks -----------------------------------------------------------------------------------------------
STANDINGS = Query(
    StandingRow,
    """
    SELECT u.id AS customer_id, s.plan ->> 'budget' AS budget, s.state = 'past_due' AS past_due
    FROM unnest($1::uuid[]) AS u (id)
    -- LIMIT keeps this a look into the index for each customer, however many subscriptions there are.
    JOIN LATERAL (
        SELECT plan, state FROM billing.subscription
        WHERE customer_id = u.id AND state <> 'ended' AND state <> 'scheduled' LIMIT 1
    ) s ON true
    """,
)
OPENED_GRANTS = Query(Id, "SELECT account_id AS id FROM billing.grant WHERE account_id = ANY($1::uuid[])")

# -- alerts ------------------------------------------------------------------------------------------------------------
SET_BUDGET = Command("""
    INSERT INTO billing.budget (id, customer_id, name, every, anchor, amount_micro) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET every = excluded.every, anchor = excluded.anchor, amount_micro = excluded.amount_micro
""")
BUDGETS = Query(
    BudgetRow,
    """
    SELECT b.id, b.customer_id, c.currency, c.time_zone, b.name, b.every, b.anchor, b.amount_micro
    FROM billing.budget b JOIN billing.customer c ON c.id = b.customer_id ORDER BY b.id
    """,
)
# Roll-up and what is not in it yet, in one snapshot, as reports read it. Periods begin with a quarter of an hour.
_SPENT = """
    (SELECT coalesce(sum(amount), 0)::bigint FROM (
        SELECT r.net_micro AS amount FROM billing.usage_series s JOIN billing.usage_rollup r ON r.series_id = s.id
        WHERE s.customer_id = u.customer_id AND s.book = 'live' AND r.width_s = 900 AND r.start >= u.starts_at
          AND r.start < u.ends_at
        UNION ALL
        SELECT v.net_micro FROM billing.usage_series s JOIN billing.usage v ON v.series_id = s.id
        WHERE s.customer_id = u.customer_id AND s.book = 'live' AND v.at >= u.starts_at AND v.at < u.ends_at
          AND v.xid >= (SELECT billing.usage_through())
    ) both_parts)
"""
SPENT = Query(
    Spent,
    "SELECT " + _SPENT + """ AS amount_micro
    FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS u (customer_id, starts_at, ends_at, nth)
    ORDER BY u.nth
    """,
)  # fmt: skip
# Who is on a contract owes and does not run dry.
PACES = Query(
    Pace,
    """
    WITH spent AS (
        SELECT u.customer_id, u.currency, """ + _SPENT + """ AS day_micro
        FROM (SELECT DISTINCT s.customer_id, c.currency, billing.now() - interval '1 day' AS starts_at,
                              timestamptz 'infinity' AS ends_at
              FROM billing.usage_series s JOIN billing.customer c ON c.id = s.customer_id
              WHERE s.book = 'live' AND s.kind = 'charge') u
    )
    SELECT p.customer_id, w.id AS wallet_id, p.currency,
           sum(b.posted - b.held - b.floor)::bigint AS free_micro, p.day_micro,
           (SELECT t.id FROM billing.transfer t WHERE t.subject_id = p.customer_id AND t.kind = 'top_up'
            ORDER BY t.created_at DESC, t.id LIMIT 1) AS topped_up
    FROM spent p
    JOIN billing.wallet w ON w.customer_id = p.customer_id AND w.book = 'live' AND w.asset = p.currency
    JOIN billing.grant g ON g.wallet_id = w.id AND coalesce(g.expires_at, 'infinity') > billing.now()
    JOIN billing.balance b ON b.account_id = g.account_id
    WHERE p.day_micro > 0
      AND NOT EXISTS (SELECT FROM billing.subscription s WHERE s.customer_id = p.customer_id AND s.state = 'active'
                      AND s.plan ->> 'kind' = 'contract')
    GROUP BY p.customer_id, w.id, p.currency, p.day_micro ORDER BY w.id
    """,
)  # fmt: skip
