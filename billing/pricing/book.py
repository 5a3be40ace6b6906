"""The price book: publish a rate card, find the one in force."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from billing.errors import RateCardInvalid
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.pricing import sql
from billing.pricing.model import Published, RateCard


class PriceBook:
    """Finds the card in force inside the caller's transaction; only contents, which never change, are remembered."""

    def __init__(self) -> None:
        self._cards: dict[UUID, Published] = {}

    async def in_force(self, conn: Conn) -> dict[str, Published]:
        """The published card of each currency, by the database's clock."""
        return {row.currency: await self._card(conn, row.id) for row in await sql.IN_FORCE.all(conn)}

    async def _card(self, conn: Conn, card_id: UUID) -> Published:
        known = self._cards.get(card_id)
        if known is None:
            stored = await sql.CARD.one(conn, card_id)
            known = self._cards[card_id] = Published(card_id, msgspec.json.decode(stored.card, type=RateCard))
        return known


async def publish(conn: Conn, card: RateCard, effective_from: datetime | None = None) -> UUID:
    """Adds a card to its currency's succession, in force from `effective_from` (default: now). Returns its id.

    Publishing the same card for the same moment again changes nothing. Raises RateCardInvalid.
    """
    for name, rates in card.models.items():
        if not rates.resolution or not rates.tier:
            raise RateCardInvalid(f"model {name} needs at least one resolution and one tier")
    encoded = msgspec.json.encode(card, order="deterministic")
    moment = effective_from.isoformat() if effective_from else "start"
    card_id = derived_id("rate_card", hashlib.sha256(encoded).hexdigest(), f"{card.currency}/{moment}")
    await sql.ADD_CARD.run(conn, card_id, card.currency, effective_from, encoded)
    return card_id
