"""Every statement of the price book."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query


class InForce(msgspec.Struct, frozen=True):
    customer_id: UUID
    currency: str
    time_zone: str
    list_id: UUID | None
    own_id: UUID | None
    at: datetime


class ListInForce(msgspec.Struct, frozen=True):
    id: UUID | None
    at: datetime


class StoredCard(msgspec.Struct, frozen=True):
    id: UUID
    card: bytes


class Moment(msgspec.Struct, frozen=True):
    at: datetime


class BilledIn(msgspec.Struct, frozen=True):
    currency: str


class StoredVersion(msgspec.Struct, frozen=True):
    id: UUID
    effective_from: datetime
    until: datetime | None
    over: bool
    card: bytes


# The list of each currency is found once for all customers, a customer's own card by the index.
IN_FORCE = Query(
    InForce,
    """
    WITH moment AS MATERIALIZED (SELECT billing.now() AS at), list AS MATERIALIZED (
        SELECT DISTINCT ON (r.currency) r.currency, r.id FROM billing.rate_card r, moment m
        WHERE r.customer_id IS NULL AND r.effective_from <= m.at ORDER BY r.currency, r.effective_from DESC
    )
    SELECT c.id AS customer_id, c.currency, c.time_zone, l.id AS list_id, own.id AS own_id, m.at
    FROM billing.customer c CROSS JOIN moment m LEFT JOIN list l ON l.currency = c.currency
    LEFT JOIN LATERAL (
        SELECT r.id FROM billing.rate_card r
        WHERE r.customer_id = c.id AND r.currency = c.currency AND r.effective_from <= m.at
        ORDER BY r.effective_from DESC LIMIT 1
    ) own ON true
    WHERE c.id = ANY($1::uuid[])
    """,
)
LIST_IN_FORCE = Query(
    ListInForce,
    """
    SELECT (SELECT r.id FROM billing.rate_card r
            WHERE r.customer_id IS NULL AND r.currency = $1 AND r.effective_from <= m.at
            ORDER BY r.effective_from DESC LIMIT 1) AS id, m.at
    FROM (SELECT billing.now() AS at) m
    """,
)
CARDS = Query(StoredCard, "SELECT id, card FROM billing.rate_card WHERE id = ANY($1::uuid[])")

# Publishers of one succession wait for each other; nobody who reads prices does.
LOCK_SUCCESSION = Command("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
BILLED_IN = Query(BilledIn, "SELECT currency FROM billing.customer WHERE id = $1")
NOW = Query(Moment, "SELECT billing.now() AS at")
SUCCESSION = Query(
    StoredVersion,
    """
    SELECT id, effective_from, until, coalesce(until <= billing.now(), false) AS over, card
    FROM (SELECT *, lead(effective_from) OVER (ORDER BY effective_from) AS until FROM billing.rate_card
          WHERE customer_id IS NOT DISTINCT FROM $1 AND currency = $2) succession
    ORDER BY effective_from
    """,
)
ADD_CARD = Command("""
    INSERT INTO billing.rate_card (id, customer_id, currency, effective_from, card) VALUES ($1, $2, $3, $4, $5)
""")
