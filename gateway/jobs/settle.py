"""Settle: the transaction that ends an attempt. Delivered jobs are charged, all others get their hold back."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from billing.charges import settle as charges
from billing.charges.model import Settled
from billing.errors import BillingError
from billing.kit.query import Conn
from billing.pricing.model import decode_terms
from gateway.jobs import sql
from gateway.jobs.account import delivery
from gateway.jobs.cancel import release_holds
from gateway.jobs.model import Delivered, Ending, JobRef, Lease
from gateway.quotas.true_up import true_up


class Settlement(msgspec.Struct, frozen=True):
    """A verified result of the attempt that `lease` names; the device worked for `device_ms`."""

    lease: Lease
    owner: UUID
    delivered: Delivered
    device_ms: int


class Ended(msgspec.Struct, frozen=True):
    """A job that has succeeded, what was charged for it in money and in prepaid seconds, and what of that we have earned: nothing
    where it was play money.
    """

    currency: str
    charged_micro: int
    charged_ms: int
    revenue_micro: int


async def settle(conn: Conn, settlements: Sequence[Settlement]) -> list[Ended | None]:
    """Charges and ends each job whose attempt still holds its lease; None where it does not (lost or cancelled).

    Settling the same attempt again is a replay: the same answer, and nothing more is charged.

    Raises BillingError when the ledger refuses one: then none of the batch is ended.
    """
    rows = await sql.ENDING.all(conn, [s.lease.org_id for s in settlements], [s.lease.id for s in settlements])
    jobs = {row.id: row for row in rows}
    ours = {s.lease.id: s for s in settlements if _holds(jobs.get(s.lease.id), s)}
    again = {s.lease.id: s for s in settlements if _succeeded(jobs.get(s.lease.id), s)}
    both = [*ours.values(), *again.values()]
    charged: dict[UUID, Settled] = {}
    for outcome in await charges.settle(conn, [delivery(jobs[s.lease.id], s.delivered.duration_ms, s.device_ms) for s in both]):
        if isinstance(outcome, BillingError):
            raise outcome
        charged[outcome.id] = outcome
    if ours:
        await _end(conn, list(ours.values()), charged)
        await true_up(conn, [(row.org_id, row.id) for row in rows if row.counted and row.id in ours])
    return [_ended(jobs[s.lease.id], charged[s.lease.id]) if s.lease.id in charged else None for s in settlements]


def _holds(job: Ending | None, one: Settlement) -> bool:
    """The fence: this attempt, this owner, and nobody asked to cancel."""
    return job is not None and (job.attempt, job.lease_owner, job.state) == (one.lease.attempt, one.owner, "running")


def _succeeded(job: Ending | None, one: Settlement) -> bool:
    """Settled by the same attempt before: the batch is sent again after an unknown outcome."""
    return job is not None and (job.attempt, job.state) == (one.lease.attempt, "succeeded")


def _ended(job: Ending, charged: Settled) -> Ended:
    revenue_micro = charged.revenue_micro if job.livemode else 0
    return Ended(decode_terms(job.terms).currency, charged.amount_micro, charged.seconds_ms, revenue_micro)


async def _end(conn: Conn, settlements: Sequence[Settlement], charged: dict[UUID, Settled]) -> None:
    await sql.SUCCEED.run(
        conn,
        [s.lease.org_id for s in settlements],
        [s.lease.id for s in settlements],
        [s.delivered.frames for s in settlements],
        [s.delivered.duration_ms for s in settlements],
        [charged[s.lease.id].seconds_ms for s in settlements],
        [charged[s.lease.id].amount_micro for s in settlements],
        [msgspec.json.encode(s.delivered.artifacts) for s in settlements],
        [s.lease.retention_s for s in settlements],
        [s.device_ms for s in settlements],
    )


class GiveUp(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt that did not deliver.

    `public` is the sentence the client sees, `internal` is for operators; `counts` is False when the job is only handed back. The
    device worked for `device_ms`.
    """

    lease: Lease
    owner: UUID
    final: bool
    code: str
    public: str
    internal: str
    device_ms: int
    counts: bool = True
    delay_s: float = 0.0


async def give_up(conn: Conn, end: GiveUp) -> str | None:
    """Queues the job again, or fails it if `final`, or cancels it if that was asked; a hold that is not needed is released.

    Returns the job's new state, None when the lease was not ours any more.
    """
    changed = await sql.GIVE_UP.maybe(
        conn,
        end.lease.org_id,
        end.lease.id,
        end.lease.attempt,
        end.owner,
        "failed" if end.final else "queued",
        end.code,
        end.public,
        end.delay_s,
        end.internal,
        int(end.counts),
        end.device_ms,
    )
    if changed is None:
        return None
    if changed.state != "queued":
        await release_holds(conn, [JobRef(end.lease.org_id, end.lease.id)])
    return changed.state
