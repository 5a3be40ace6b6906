"""Rate cards and what is read from them; pure.

Prices are micro-units of the card's currency, factors ten-thousandths: 16_000 is × 1.6.
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

FACTOR_ONE = 10_000

Unit = Literal["ms", "image"]
"""What a quantity counts. A price is per second of video (1000 ms) or per image."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Factor: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=40)]
Quantity: TypeAlias = Annotated[int, Meta(ge=0, le=10**12)]


class FpsClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frame rates above those of the class before, up to and including `up_to`; without it, all that are left."""

    name: Name
    factor: Factor
    up_to: Annotated[int, Meta(ge=1, le=1000)] | None = None


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A band of the day on the customer's clock: `start` is in it, `end` is not. Past midnight it still is a band of `days`."""

    name: Name
    start: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    end: Annotated[str, Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    factor: Factor
    days: tuple[Day, ...] = WEEK


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Graduated: only what exceeds `above` in a month, in ms or images, costs this factor of the price."""

    above: Annotated[int, Meta(ge=1, le=10**15)]
    factor: Factor


class ModelRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's price: that of a second or an image, times a factor for each dimension it is ordered in.

    A dimension with no entries does not change the price, but for `audio`: without its factor, sound is not sold.
    """

    price_micro: Annotated[int, Meta(ge=0, le=10**12)]
    resolution: dict[Name, Factor]
    tier: dict[Name, Factor]
    unit: Unit = "ms"
    audio: Factor | None = None
    task: dict[Name, Factor] = {}
    fps: tuple[FpsClass, ...] = ()
    accelerator: dict[Name, Factor] = {}
    hours: tuple[Hours, ...] = ()
    volume: tuple[Step, ...] = ()
    min_ms: Quantity = 0
    seconds_class: dict[Name, Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]] = {}
    """By resolution: which prepaid seconds may pay for it."""


class RateCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices in one currency from one moment on: a whole list, or for one customer what differs from the list."""

    currency: str
    models: dict[Name, ModelRates]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can be asked for, so that a card can be checked for holes: each of these must have its price."""

    unit: Unit = "ms"
    resolutions: tuple[str, ...]
    tiers: tuple[str, ...]
    tasks: tuple[str, ...]
    fps: tuple[int, ...]
    audio: bool
    accelerators: tuple[str, ...] = ()


class Published(msgspec.Struct, frozen=True):
    """A rate card with the id that jobs freeze."""

    id: UUID
    card: RateCard


class Version(msgspec.Struct, frozen=True):
    """A card in its succession. `until` is when the next one takes over, None while none is known; `over`: it has."""

    id: UUID
    effective_from: datetime
    until: datetime | None
    over: bool
    card: RateCard


class Book(msgspec.Struct, frozen=True):
    """What one customer pays at `at`: the card of its own before the list. Either may be missing."""

    currency: str
    time_zone: str
    at: datetime
    listed: Published | None = None
    own: Published | None = None

    @property
    def alike(self) -> tuple[UUID | None, UUID | None, str]:
        """Books of one moment that have this in common price everything alike."""
        return self.listed and self.listed.id, self.own and self.own.id, self.time_zone

    def card_for(self, model: str) -> Published | None:
        """The card that prices the model; None where neither does."""
        if self.own is not None and model in self.own.card.models:
            return self.own
        return self.listed if self.listed is not None and model in self.listed.card.models else None

    def rates(self, model: str) -> ModelRates | None:
        published = self.card_for(model)
        return None if published is None else published.card.models[model]

    def models(self) -> tuple[str, ...]:
        """Every model with a price, in the order of the list."""
        cards = (published.card for published in (self.listed, self.own) if published is not None)
        return tuple(dict.fromkeys(name for card in cards for name in card.models))


class Dimensions(msgspec.Struct, frozen=True):
    """What a price depends on beside the customer and the moment. `accelerator` is None where the choice is left to us.

    `unit` is what the quantity will be counted in: a price for another unit is none.
    """

    model: str
    task: str
    resolution: str
    fps: int
    tier: str
    audio: bool = False
    accelerator: str | None = None
    unit: Unit = "ms"


class Terms(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Everything a later charge needs, frozen when a subject is admitted. `factors` are those that are not 1, by name.

    `volume_key` names the customer-local month and the model whose quantities the steps count; it is empty without steps.
    """

    rate_card_id: UUID
    currency: str
    unit: Unit = "ms"
    price_micro: int
    factors: tuple[tuple[str, int], ...] = ()
    min_ms: int = 0
    steps: tuple[Step, ...] = ()
    volume_key: str = ""
    seconds_class: str = ""

    @property
    def unit_size(self) -> int:
        """How much of the quantity `price_micro` is for: 1000 ms or 1 image."""
        return 1 if self.unit == "image" else 1000

    @property
    def dearest(self) -> int:
        """The highest volume factor a quantity may meet."""
        return max((FACTOR_ONE, *(step.factor for step in self.steps)))

    @property
    def rate_micro(self) -> int:
        """The price of a second or an image before volume steps, rounded down: to show, not to charge from."""
        above, below = self.fraction()
        return above * FACTOR_ONE * self.unit_size // below

    @property
    def rate_max_micro(self) -> int:
        """The most a second or an image may cost, rounded up: what to hold for a part that prepaid seconds may not cover."""
        above, below = self.fraction()
        return -(-above * self.dearest * self.unit_size // below)

    def fraction(self) -> tuple[int, int]:
        """Numerator and denominator of what one ms or image costs for each ten-thousandth of its volume factor; exact."""
        above, below = self.price_micro, self.unit_size * FACTOR_ONE
        for _, factor in self.factors:
            above, below = above * factor, below * FACTOR_ONE
        return above, below


_decoder = msgspec.json.Decoder(Terms)


def encode_terms(terms: Terms) -> bytes:
    """As JSON, to freeze beside the subject."""
    return msgspec.json.encode(terms)


@lru_cache(maxsize=4096)
def decode_terms(data: bytes) -> Terms:
    """Raises msgspec.ValidationError for anything `encode_terms` did not make. Equal terms are one object."""
    return _decoder.decode(data)
