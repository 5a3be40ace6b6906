"""Every statement of the price book."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query


class InForce(msgspec.Struct, frozen=True):
    currency: str
    id: UUID


class StoredCard(msgspec.Struct, frozen=True):
    id: UUID
    currency: str
    effective_from: datetime
    card: bytes


IN_FORCE = Query(
    InForce,
    """
    SELECT DISTINCT ON (currency) currency, id FROM billing.rate_card
    WHERE effective_from <= clock_timestamp() ORDER BY currency, effective_from DESC
    """,
)
CARD = Query(StoredCard, "SELECT id, currency, effective_from, card FROM billing.rate_card WHERE id = $1")
ADD_CARD = Command("""
    INSERT INTO billing.rate_card (id, currency, effective_from, card)
    VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp()), $4) ON CONFLICT (id) DO NOTHING
""")
