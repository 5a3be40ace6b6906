"""Accrue: what an attempt cost is an expense, whatever became of it."""

from collections.abc import Sequence

from billing.charges.model import COST_CURRENCY, Attempt, Delivery, Ended, Facts
from billing.kit.query import Conn
from billing.ledger.post import Posting, post_all


async def accrue(conn: Conn, jobs: Sequence[Delivery | Ended]) -> None:
    """Posts the cost of each attempt of the jobs once; again with the same figures is a replay.

    Raises TransferConflict for an attempt that was accrued with another cost.
    """
    postings = [
        _posting(job, job.facts, attempt) for job in jobs if job.facts for attempt in job.facts.attempts if attempt.cost_micro
    ]
    if postings:
        await post_all(conn, postings)


def _posting(job: Delivery | Ended, facts: Facts, attempt: Attempt) -> Posting:
    return Posting(
        kind="cost",
        source=f"{job.id}/{attempt.number}",
        subject_id=job.id,
        book=job.book,
        asset=COST_CURRENCY,
        amounts={"amount": attempt.cost_micro},
        dimensions={"pool": attempt.pool, "model": facts.model, "outcome": attempt.outcome},
        facts={"run_ms": attempt.run_ms, "chip": attempt.chip},
    )
