"""Refund: a charge that should not have been, or not as much of it, goes back to where it came from."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from billing.charges import sql
from billing.charges.model import Refund, Series, Usage
from billing.charges.record import record
from billing.charges.revenue import recognised, revenue_accounts
from billing.errors import BillingError, RefundExceedsCapture
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import refund as ledger
from billing.ledger.hold import lock_holds
from billing.ledger.model import OpenHold, Refunded, RefundRequest

_WHOLE = ("gross_micro", "requested_ms", "delivered_ms", "billed_ms", "images")
"""Figures of a usage row that go back with the last of the charge; the others follow from what the ledger gave back."""


async def refund(conn: Conn, refunds: Sequence[Refund]) -> list[Refunded | BillingError]:
    """Gives each back and records it, in the caller's transaction. Returns one outcome each.

    The same job and reason again is a replay and returns what was given back then; with another amount it is a
    TransferConflict. RefundExceedsCapture: the job was not settled, nothing is left of its charge, or less than was asked
    for. Refusals change nothing.
    """
    holds = await lock_holds(conn, [one.id for one in refunds])
    rests = _rests(holds, await sql.USAGE_OF.all(conn, list(holds)))
    known = {row.id: row for row in await sql.REFUNDS.all(conn, [_id(one) for one in refunds])}
    plans: dict[UUID, _Plan] = {}
    asked: dict[int, RefundRequest] = {}
    for nth, one in enumerate(refunds):
        transfer_id = _id(one)
        if transfer_id not in known and transfer_id not in plans and one.id in rests:
            plan = rests[one.id].take(one)
            if plan is not None:
                plans[transfer_id] = plan
        before = known.get(transfer_id) or plans.get(transfer_id)
        if before is not None:
            amount_micro = before.amount_micro if one.amount_micro is None else one.amount_micro
            asked[nth] = RefundRequest(one.id, before.seconds_ms, amount_micro, one.reason)
    done = dict(zip(asked, await ledger.refund(conn, list(asked.values())), strict=True))
    outcomes = [done.get(nth, RefundExceedsCapture(f"hold {one.id}")) for nth, one in enumerate(refunds)]
    await _record(conn, plans, {one.transfer_id: one for one in outcomes if isinstance(one, Refunded)})
    return outcomes


def _id(one: Refund) -> UUID:
    return derived_id("refund", one.id, one.reason)


class _Plan(msgspec.Struct, frozen=True):
    """What a new refund gives back, and the other figures of its usage row."""

    charge: sql.Recorded
    seconds_ms: int
    amount_micro: int
    figures: Mapping[str, int]


class _Rest(msgspec.Struct):
    """What is left of a job's charge after the refunds so far."""

    charge: sql.Recorded
    seconds_ms: int
    amount_micro: int
    figures: dict[str, int]

    def take(self, one: Refund) -> _Plan | None:
        """Takes the refund out of the rest; None where there is not so much."""
        if one.amount_micro is None:
            plan = _Plan(self.charge, self.seconds_ms, self.amount_micro, dict(self.figures))
            if not (plan.seconds_ms or plan.amount_micro or any(plan.figures.values())):
                return None
        elif 0 < one.amount_micro <= self.amount_micro:
            plan = _Plan(self.charge, 0, one.amount_micro, {"gross_micro": one.amount_micro})
        else:
            return None
        self.seconds_ms -= plan.seconds_ms
        self.amount_micro -= plan.amount_micro
        for name, figure in plan.figures.items():
            self.figures[name] -= figure
        return plan


def _rests(holds: Mapping[UUID, OpenHold], rows: Sequence[sql.Recorded]) -> dict[UUID, _Rest]:
    """Of each job that was settled: the sum of its usage rows, and of its hold what was captured and not given back."""
    rests = {
        row.subject_id: _Rest(
            row, _left(holds[row.subject_id], "seconds"), _left(holds[row.subject_id], "money"), dict.fromkeys(_WHOLE, 0)
        )
        for row in rows
        if row.kind == "charge" and holds[row.subject_id].state == "captured"
    }
    for row in rows:
        if row.subject_id in rests:
            for name in _WHOLE:
                rests[row.subject_id].figures[name] += getattr(row, name)
    return rests


def _left(found: OpenHold, part: str) -> int:
    return sum(draw.captured - draw.refunded for draw in found.draws if draw.part == part)


async def _record(conn: Conn, plans: Mapping[UUID, _Plan], refunded: Mapping[UUID, Refunded]) -> None:
    new = {transfer_id: plan for transfer_id, plan in plans.items() if transfer_id in refunded}
    ours = {account for plan in new.values() for account in revenue_accounts(plan.charge.book, plan.charge.currency)}
    revenue = await recognised(conn, [transfer_id for transfer_id, plan in new.items() if plan.seconds_ms], ours)
    await record(
        conn,
        [
            Usage(
                subject_id=plan.charge.subject_id,
                series=_series(plan.charge),
                transfer_id=transfer_id,
                granted_micro=-refunded[transfer_id].promo_micro,
                net_micro=refunded[transfer_id].promo_micro - plan.amount_micro,
                prepaid_micro=revenue.get(transfer_id, 0),
                seconds_ms=-plan.seconds_ms,
                end_user=plan.charge.end_user,
                **{name: -figure for name, figure in plan.figures.items()},
            )
            for transfer_id, plan in new.items()
        ],
    )


def _series(charge: sql.Recorded) -> Series:
    """That of the charge, for refunds."""
    fields = {name: getattr(charge, name) for name in Series.__struct_fields__}
    fields |= {"kind": "refund", "labels": msgspec.json.decode(charge.labels)}
    return Series(**fields)
