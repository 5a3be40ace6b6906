"""Settle: the transaction that ends an attempt. Delivered jobs are charged, all others get their hold back."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from billing.errors import BillingError
from billing.kit.money import charge_micro
from billing.kit.query import Conn
from billing.ledger.capture import capture
from billing.ledger.model import CaptureRequest
from gateway.jobs import sql
from gateway.jobs.cancel import release_holds
from gateway.jobs.model import Delivered, Lease


class Settlement(msgspec.Struct, frozen=True):
    """A verified result of the attempt that `lease` names; the device worked for `device_ms`."""

    lease: Lease
    owner: UUID
    delivered: Delivered
    device_ms: int

    @property
    def charge_micro(self) -> int:
        """The frozen rate times what was measured, and never more than was held."""
        return min(charge_micro(self.delivered.duration_ms, self.lease.rate_micro_per_s), self.lease.hold_micro)


async def settle(conn: Conn, settlements: Sequence[Settlement]) -> list[bool]:
    """Ends and charges each job whose attempt still holds its lease; False where it does not (lost or cancelled).

    Settling the same attempt again is a replay: True, and nothing more is charged.

    Raises BillingError when the ledger refuses one: then none of the batch is ended.
    """
    ended = await sql.SUCCEED.all(
        conn,
        [s.lease.org_id for s in settlements],
        [s.lease.id for s in settlements],
        [s.lease.attempt for s in settlements],
        [s.owner for s in settlements],
        [s.delivered.frames for s in settlements],
        [s.delivered.duration_ms for s in settlements],
        [s.charge_micro for s in settlements],
        [msgspec.json.encode(s.delivered.artifacts) for s in settlements],
        [s.lease.retention_s for s in settlements],
        [s.device_ms for s in settlements],
    )
    ids = {row.id for row in ended}
    outcomes = await capture(conn, [_capture(s) for s in settlements if s.lease.id in ids])
    for outcome in outcomes:
        if isinstance(outcome, BillingError):
            raise outcome
    others = [s.lease for s in settlements if s.lease.id not in ids]
    if others:  # settled by the same attempt before: this batch is sent again after an unknown outcome
        rows = await sql.ALREADY_SUCCEEDED.all(
            conn, [o.org_id for o in others], [o.id for o in others], [o.attempt for o in others]
        )
        ids |= {row.id for row in rows}
    return [s.lease.id in ids for s in settlements]


def _capture(settlement: Settlement) -> CaptureRequest:
    lease = settlement.lease
    payload: dict[str, int | str] = {
        "duration_ms": settlement.delivered.duration_ms,
        "rate_micro_per_s": lease.rate_micro_per_s,
        "frames": settlement.delivered.frames,
        "attempt": lease.attempt,
    }
    return CaptureRequest(lease.id, 0, settlement.charge_micro, payload=payload)


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
        await release_holds(conn, [end.lease.id])
    return changed.state
