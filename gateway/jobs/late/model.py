"""A delivered job that started late; pure."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.pricing.model import decode_terms


class LateStart(msgspec.Struct, frozen=True):
    """What it was promised, what it was charged, and its frozen terms, still encoded."""

    org_id: UUID
    id: UUID
    promised_start_at: datetime
    started_at: datetime
    charged_micro: int
    charged_ms: int
    terms: bytes


def credit_micro(late: LateStart, percent: int) -> int:
    """What is given back, rounded down."""
    paid_micro = late.charged_micro + decode_terms(late.terms).rate_micro * late.charged_ms // 1000
    return paid_micro * percent // 100
