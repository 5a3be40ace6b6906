"""What a job asks of the money plane, and its usage records; pure.

A quantity is milliseconds of video or a number of images, whichever the unit of the job's terms is.
"""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.ids import derived_id
from billing.ledger.model import Book, Sponsor
from billing.pricing.model import Terms

Kind = Literal["charge", "refund"]
Outcome = Literal["succeeded", "failed", "cancelled"]

COST_CURRENCY = "USD"
"""What compute is bought in."""
_MS_MAX = 2**31 - 1


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what `quantity` may cost at most. `sponsor` is a budget of ours that must cover a free job's compute as well."""

    id: UUID
    customer_id: UUID
    book: Book
    terms: Terms
    quantity: int
    sponsor: Sponsor | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job on a pool of accelerators; also one that failed costs. `cost_micro` is in the cost currency."""

    number: int
    pool: str
    chip: str
    outcome: str
    run_ms: int
    cost_micro: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What reports tell jobs apart by. `attempts` are all that ran, in order; the last one's chip is the job's."""

    project_id: UUID
    key_id: UUID
    model: str
    task: str
    resolution: str
    tier: str
    attempts: tuple[Attempt, ...]
    queue_ms: int = 0
    end_user: str = ""
    labels: Mapping[str, str] = {}

    @property
    def cost_micro(self) -> int:
        return sum(attempt.cost_micro for attempt in self.attempts)

    @property
    def run_ms(self) -> int:
        return sum(attempt.run_ms for attempt in self.attempts)

    @property
    def chip(self) -> str:
        return self.attempts[-1].chip if self.attempts else ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A job that delivered. `requested` is the quantity it was held for; what was delivered beyond it is not charged."""

    id: UUID
    customer_id: UUID
    book: Book
    terms: Terms
    requested: int
    delivered: int
    facts: Facts


class Settled(msgspec.Struct, frozen=True):
    """What was charged: prepaid seconds, which earned `prepaid_micro`, and money of which `granted_micro` was promotional."""

    id: UUID
    amount_micro: int
    seconds_ms: int
    granted_micro: int
    prepaid_micro: int = 0

    @property
    def revenue_micro(self) -> int:
        """What we have earned by it."""
        return self.amount_micro - self.granted_micro + self.prepaid_micro


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended without a delivery. `facts` are None where it never ran: it cost nothing and leaves no usage row."""

    id: UUID
    customer_id: UUID
    book: Book
    terms: Terms
    requested: int
    outcome: Literal["failed", "cancelled"]
    facts: Facts | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Give a settled job's charge back: all that is left of it, or `amount_micro` of its money.

    `reason` is an id such as that of a finding; a job is refunded once for each.
    """

    id: UUID
    reason: str
    amount_micro: int | None = None


class Series(msgspec.Struct, frozen=True):
    """What usage rows have in common: everything a report may group by. Stored once, under an id derived from all of it."""

    kind: Kind
    customer_id: UUID
    project_id: UUID
    key_id: UUID
    rate_card_id: UUID
    book: Book
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
    customer's own; the rest by prepaid seconds, for which `prepaid_micro` of revenue was recognised. The row has the moment of
    its transfer, so that both are in the same month.
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
    transfer_id: UUID | None = None


def series_of(job: Delivery | Ended, facts: Facts, outcome: Outcome) -> Series:
    """The series of a job's charge."""
    return Series(
        kind="charge",
        customer_id=job.customer_id,
        project_id=facts.project_id,
        key_id=facts.key_id,
        rate_card_id=job.terms.rate_card_id,
        book=job.book,
        currency=job.terms.currency,
        cost_currency=COST_CURRENCY,
        model=facts.model,
        task=facts.task,
        resolution=facts.resolution,
        tier=facts.tier,
        chip=facts.chip,
        outcome=outcome,
        labels=dict(facts.labels),
    )


def usage_of(subject_id: UUID, series: Series, facts: Facts) -> Usage:
    """A row with what is known of a job beside its charge. Times are cut where their column ends, after 24 days."""
    return Usage(
        subject_id=subject_id,
        series=series,
        cost_micro=facts.cost_micro,
        queue_ms=min(facts.queue_ms, _MS_MAX),
        run_ms=min(facts.run_ms, _MS_MAX),
        attempts=len(facts.attempts),
        end_user=facts.end_user,
    )
