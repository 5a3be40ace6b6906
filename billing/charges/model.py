"""Usage records; pure."""

from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.ids import derived_id

Kind = Literal["charge", "refund"]
Outcome = Literal["succeeded", "failed", "cancelled"]


class Series(msgspec.Struct, frozen=True):
    """What usage rows have in common: everything a report may group by. Stored once, under an id derived from all of it."""

    kind: Kind
    customer_id: UUID
    project_id: UUID
    key_id: UUID
    rate_card_id: UUID
    book: str
    currency: str
    cost_currency: str
    model: str
    task: str
    resolution: str
    tier: str
    chip: str
    outcome: Outcome
    labels: dict[str, str]

    @property
    def id(self) -> UUID:
        return derived_id("usage_series", msgspec.json.encode(self, order="deterministic").decode())


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a job that ended after it ran, or a refund of it with every figure of the refund negative.

    `gross_micro` is what was delivered at its price; `granted_micro` of it was paid by promotional money and `net_micro` by the
    customer's own; the rest by prepaid seconds, for which `prepaid_micro` of revenue was recognised.
    """

    subject_id: UUID
    series: Series
    gross_micro: int = 0
    granted_micro: int = 0
    net_micro: int = 0
    prepaid_micro: int = 0
    cost_micro: int = 0
    requested_ms: int = 0
    delivered_ms: int = 0
    billed_ms: int = 0
    seconds_ms: int = 0
    queue_ms: int = 0
    run_ms: int = 0
    images: int = 0
    attempts: int = 0
    end_user: str = ""
