"""What the money plane is told of a job: pure translation of a row into billing's words."""

from typing import Literal

from billing.charges.model import Attempt, Delivery, Ended, Facts
from billing.ledger.model import Book
from billing.pricing.model import decode_terms
from gateway.jobs.model import Ending, cost_micro_usd


def delivery(job: Ending, delivered_ms: int, device_ms: int) -> Delivery:
    """A verified result of the running attempt, whose device worked for `device_ms`."""
    return Delivery(
        id=job.id,
        customer_id=job.org_id,
        book=_book(job),
        terms=decode_terms(job.terms),
        requested=job.max_ms,
        delivered=delivered_ms,
        facts=_facts(job, device_ms),
    )


def ended(job: Ending) -> Ended:
    """A job that has ended without a result; without facts where it never ran."""
    outcome: Literal["failed", "cancelled"] = "cancelled" if job.state == "cancelled" else "failed"
    return Ended(
        id=job.id,
        customer_id=job.org_id,
        book=_book(job),
        terms=decode_terms(job.terms),
        requested=job.max_ms,
        outcome=outcome,
        facts=_facts(job) if job.numbers else None,
    )


def _book(job: Ending) -> Book:
    return "live" if job.livemode else "test"


def _facts(job: Ending, running_ms: int = 0) -> Facts:
    """`running_ms`: the device's time of the attempt that is still open."""
    video = job.video()
    columns = zip(job.numbers, job.chips, job.outcomes, job.device_ms, job.prices, strict=True)
    attempts = [
        (number, chip, outcome or "succeeded", device_ms if outcome else running_ms, price)
        for number, chip, outcome, device_ms, price in columns
    ]
    return Facts(
        project_id=job.project_id,
        key_id=job.key_id,
        model=job.model,
        task=video.task,
        resolution=video.resolution,
        tier=job.tier,
        attempts=tuple(
            Attempt(number=number, pool=chip, chip=chip, outcome=outcome, run_ms=ms, cost_micro=cost_micro_usd(ms, price))
            for number, chip, outcome, ms, price in attempts
        ),
        queue_ms=job.queue_ms or 0,
        end_user=video.end_user or "",
        labels=video.labels,
    )
