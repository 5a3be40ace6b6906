"""Rate cards and quotes; pure."""

from typing import Annotated
from uuid import UUID

import msgspec

FACTOR_ONE = 10_000
"""Factors are integers in ten-thousandths: 16_000 is × 1.6."""

Factor = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class ModelRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's price: micro-units per generated second, times a factor for each dimension it may be ordered in."""

    per_second_micro: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    resolution: dict[str, Factor]
    tier: dict[str, Factor]
    audio: Factor = FACTOR_ONE


class RateCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All prices of one currency from one moment on."""

    currency: str
    models: dict[str, ModelRates]


class Published(msgspec.Struct, frozen=True):
    """A rate card with the id that jobs freeze."""

    id: UUID
    card: RateCard


class Dimensions(msgspec.Struct, frozen=True):
    """What a price depends on."""

    model: str
    resolution: str
    tier: str
    audio: bool


class Quote(msgspec.Struct, frozen=True):
    """A price and how it came about."""

    rate_card_id: UUID
    currency: str
    rate_micro_per_s: int
    duration_ms: int
    amount_micro: int
    explanation: str
