"""The price book: publish a rate card, find those in force."""

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from billing.errors import RateCardInvalid, UnknownCustomer
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.pricing import sql
from billing.pricing.check import check
from billing.pricing.model import Book, Published, RateCard, Version

CARDS_MAX = 4096
"""Cards kept in memory: more than are in force at any time."""

_decoder = msgspec.json.Decoder(RateCard)


class PriceBook:
    """Reads which cards are in force inside the caller's transaction; only contents, which never change, are remembered."""

    def __init__(self) -> None:
        self._cards: dict[UUID, Published] = {}

    async def in_force(self, conn: Conn, customer_ids: Collection[UUID]) -> dict[UUID, Book]:
        """What each customer pays now, by the database's clock, in one statement. Unknown customers have no book."""
        rows = await sql.IN_FORCE.all(conn, customer_ids)
        cards = await self._published(conn, {card_id for row in rows for card_id in (row.list_id, row.own_id) if card_id})
        return {
            row.customer_id: Book(
                row.currency,
                row.time_zone,
                row.at,
                cards[row.list_id] if row.list_id else None,
                cards[row.own_id] if row.own_id else None,
            )
            for row in rows
        }

    async def listed(self, conn: Conn, currency: str) -> Book:
        """The public list of a currency, as it is now; hours are those of UTC."""
        row = await sql.LIST_IN_FORCE.one(conn, currency)
        cards = await self._published(conn, {row.id} if row.id else set[UUID]())
        return Book(currency, "UTC", row.at, cards[row.id] if row.id else None)

    async def _published(self, conn: Conn, card_ids: set[UUID]) -> dict[UUID, Published]:
        found = {card_id: self._cards[card_id] for card_id in card_ids if card_id in self._cards}
        missing = card_ids - found.keys()
        if missing:
            fresh = {row.id: Published(row.id, _decoder.decode(row.card)) for row in await sql.CARDS.all(conn, missing)}
            self._cards = fresh if len(self._cards) + len(fresh) > CARDS_MAX else self._cards | fresh
            found |= fresh
        return found


async def publish(conn: Conn, card: RateCard, effective_from: datetime | None = None, *, customer_id: UUID | None = None) -> UUID:
    """Adds a card to its succession (the list of its currency, or a customer's own), in force from a moment on; default: now.

    Returns its id. Publishing the same card for the same moment again, or for now when it is in force, changes nothing.
    Raises RateCardInvalid, also for a moment that is over: a price is never changed for what was admitted already.
    """
    check(card)
    if customer_id is not None:
        await _refuse_currency(conn, card, customer_id)
    whose = f"{card.currency}/{customer_id or 'list'}"
    await sql.LOCK_SUCCESSION.run(conn, f"rate_card/{whose}")
    now = (await sql.NOW.one(conn)).at
    versions = await succession(conn, card.currency, customer_id)
    in_force = next((version for version in reversed(versions) if version.effective_from <= now), None)
    if effective_from is None:
        if in_force is not None and in_force.card == card:
            return in_force.id
        effective_from = now
    if effective_from.tzinfo is None:
        raise RateCardInvalid(f"{effective_from.isoformat()} has no time zone")
    for version in versions:
        if version.effective_from == effective_from:
            if version.card == card:
                return version.id
            raise RateCardInvalid(f"another card takes effect at {effective_from.isoformat()}")
    if effective_from < now and in_force is not None:
        raise RateCardInvalid(f"{effective_from.isoformat()} is over, and prices were in force; publish for now or later")
    encoded = msgspec.json.encode(card, order="deterministic")
    moment = effective_from.astimezone(UTC).isoformat()
    card_id = derived_id("rate_card", hashlib.sha256(encoded).hexdigest(), f"{whose}/{moment}")
    await sql.ADD_CARD.run(conn, card_id, customer_id, card.currency, effective_from, encoded)
    return card_id


async def succession(conn: Conn, currency: str, customer_id: UUID | None = None) -> list[Version]:
    """Every card of the list or of a customer's own, the oldest first."""
    rows = await sql.SUCCESSION.all(conn, customer_id, currency)
    return [Version(row.id, row.effective_from, row.until, row.over, _decoder.decode(row.card)) for row in rows]


async def _refuse_currency(conn: Conn, card: RateCard, customer_id: UUID) -> None:
    billed = await sql.BILLED_IN.maybe(conn, customer_id)
    if billed is None:
        raise UnknownCustomer(str(customer_id))
    if billed.currency != card.currency:
        raise RateCardInvalid(f"the customer is billed in {billed.currency}, the card is in {card.currency}")
