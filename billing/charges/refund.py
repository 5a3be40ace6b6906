"""Refund: a charge that should not have been, or not as much of it, goes back to where it came from."""

from collections.abc import Iterable, Mapping, Sequence
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
from billing.ledger.grants import lock_grants
from billing.ledger.hold import lock_holds
from billing.ledger.model import OpenHold, Refunded, RefundRequest

_WHOLE = ("gross_micro", "requested_ms", "delivered_ms", "billed_ms", "images")
"""Figures of a usage row that go back with the last of the charge; the others follow from what the ledger gave back."""


async def refund(conn: Conn, refunds: Sequence[Refund]) -> list[Refunded | BillingError]:
    """Gives each back and records it, in the caller's transaction. Returns one outcome each.

    What a credit note has given back of the line that charges a job does not come back again. The same job and reason again
    is a replay and returns what was given back then; with another amount it is a TransferConflict. RefundExceedsCapture: the
    job was not settled, nothing is left of its charge, or less than was asked for. Refusals change nothing.
    """
    holds = await lock_holds(conn, [one.id for one in refunds])
    lines = await _lock_lines(conn, holds)
    rests = _rests(holds, await sql.USAGE_OF.all(conn, list(holds)), lines)
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
            most = plans[transfer_id].owed_micro if transfer_id in plans else None
            asked[nth] = RefundRequest(one.id, before.seconds_ms, amount_micro, one.reason, most)
    done = dict(zip(asked, await ledger.refund(conn, list(asked.values())), strict=True))
    outcomes = [done.get(nth, RefundExceedsCapture(f"hold {one.id}")) for nth, one in enumerate(refunds)]
    await _record(conn, plans, {one.transfer_id: one for one in outcomes if isinstance(one, Refunded)})
    await _write_lines(conn, lines.values())
    return outcomes


def _id(one: Refund) -> UUID:
    return derived_id("refund", one.id, one.reason)


class _Plan(msgspec.Struct, frozen=True):
    """What a new refund gives back, and the other figures of its usage row. `owed_micro`: as a RefundRequest has it."""

    charge: sql.Recorded
    seconds_ms: int
    amount_micro: int
    figures: Mapping[str, int]
    owed_micro: int | None


class _Line(msgspec.Struct):
    """A line of a document that charges some of the jobs: what is left of it, and what these refunds take."""

    invoice_id: UUID
    line: int
    left_micro: int
    refunded_micro: int = 0


class _Rest(msgspec.Struct):
    """What is left of a job's charge after the refunds so far; `given`: by draw of its hold."""

    charge: sql.Recorded
    hold: OpenHold
    given: dict[tuple[UUID, int], int]
    figures: dict[str, int]
    line: _Line | None

    def take(self, one: Refund) -> _Plan | None:
        """Takes the refund out of the rest; None where there is not so much."""
        most = self.line.left_micro if self.line else None
        credited_micro = max(self._left("money", owed=True) - most, 0) if most is not None else 0
        seconds_ms, left_micro = self._left("seconds"), self._left("money") - credited_micro
        if one.amount_micro is None:
            plan = _Plan(self.charge, seconds_ms, left_micro, dict(self.figures), most)
            if not (seconds_ms or left_micro or (any(plan.figures.values()) and not credited_micro)):
                return None
        elif 0 < one.amount_micro <= left_micro:
            plan = _Plan(self.charge, 0, one.amount_micro, {"gross_micro": one.amount_micro}, most)
        else:
            return None
        self._give(RefundRequest(one.id, plan.seconds_ms, plan.amount_micro, one.reason, most))
        for name, figure in plan.figures.items():
            self.figures[name] -= figure
        return plan

    def _left(self, part: str, *, owed: bool = False) -> int:
        draws = [draw for draw in self.hold.draws if draw.part == part and (draw.kind == "credit" or not owed)]
        return sum(draw.captured - self.given[draw.id, draw.seq] for draw in draws)

    def _give(self, request: RefundRequest) -> None:
        for draw, share in ledger.shares_of(self.hold, self.given, request) or ():
            self.given[draw.id, draw.seq] += share
            if self.line and draw.kind == "credit":
                self.line.left_micro -= share
                self.line.refunded_micro += share


async def _lock_lines(conn: Conn, holds: Mapping[UUID, OpenHold]) -> dict[UUID, _Line]:
    """The line that charges each of these jobs on account. Documents are written under the lock of that account, so it is
    taken first; with all others, because they are locked in one order.
    """
    draws = [draw for found in holds.values() for draw in found.draws]
    if not any(draw.kind == "credit" for draw in draws):
        return {}
    await lock_grants(conn, {draw.account_id for draw in draws})
    lines: dict[tuple[UUID, int], _Line] = {}
    return {
        row.subject_id: lines.setdefault((row.invoice_id, row.line), _Line(row.invoice_id, row.line, row.left_micro))
        for row in await sql.BILLED.all(conn, list(holds))
    }


async def _write_lines(conn: Conn, lines: Iterable[_Line]) -> None:
    taken = {(one.invoice_id, one.line): one.refunded_micro for one in lines if one.refunded_micro}
    if taken:
        ids, numbers = zip(*taken, strict=True)
        await sql.REFUND_LINES.run(conn, ids, numbers, list(taken.values()))


def _rests(holds: Mapping[UUID, OpenHold], rows: Sequence[sql.Recorded], lines: Mapping[UUID, _Line]) -> dict[UUID, _Rest]:
    """Of each job that was settled: the sum of its usage rows, and of its hold what was captured and not given back."""
    rests = {
        row.subject_id: _Rest(
            row,
            holds[row.subject_id],
            {(draw.id, draw.seq): draw.refunded for draw in holds[row.subject_id].draws},
            dict.fromkeys(_WHOLE, 0),
            lines.get(row.subject_id),
        )
        for row in rows
        if row.kind == "charge" and holds[row.subject_id].state == "captured"
    }
    for row in rows:
        if row.subject_id in rests:
            for name in _WHOLE:
                rests[row.subject_id].figures[name] += getattr(row, name)
    return rests


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
