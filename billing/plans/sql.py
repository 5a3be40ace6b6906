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
# What another clerk is at is left to it.
LOCK_DUE = Query(
    SubscriptionRow,
    _SUBSCRIPTION + """
    WHERE s.state <> 'ended' AND s.plan ->> 'kind' <> 'contract'
      AND coalesce(s.period_ends_at, s.starts_at) <= (SELECT billing.now())
    ORDER BY coalesce(s.period_ends_at, s.starts_at), s.id LIMIT $1 FOR UPDATE OF s SKIP LOCKED
    """,
)  # fmt: skip
ANY_DUE = Query(
    Known,
    """
    SELECT EXISTS (SELECT FROM billing.subscription WHERE state <> 'ended' AND plan ->> 'kind' = 'subscription'
                   AND period_ends_at <= (SELECT billing.now()) AND state = 'active') AS known
    """,
)
ADD_SUBSCRIPTION = Query(
    Id,
    """
    INSERT INTO billing.subscription (id, customer_id, plan, state, anchor, starts_at, ends_at, period_starts_at,
                                      period_ends_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id
    """,
)
SAME_SUBSCRIPTION = Query(Known, "SELECT plan = $2 AND customer_id = $3 AS known FROM billing.subscription WHERE id = $1")
UPDATE_SUBSCRIPTION = Command("""
    UPDATE billing.subscription SET state = $2, ends_at = $3, period_starts_at = $4, period_ends_at = $5 WHERE id = $1
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
SALES = Query(SaleRow, _SALE + " WHERE customer_id = $1 ORDER BY created_at, id")
SALE_OF_GRANT = Query(SaleRow, _SALE + " WHERE grant_id = $1 AND returns IS NULL")
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
