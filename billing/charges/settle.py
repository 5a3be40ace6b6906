"""Settle: charge what was delivered, prepaid seconds before money, and record it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from billing.charges import sql
from billing.charges.accrue import accrue
from billing.charges.model import Delivery, Settled, Usage, series_of, usage_of
from billing.charges.record import record
from billing.charges.revenue import recognised, revenue_accounts
from billing.charges.volume import Key, Volumes, lock_volumes
from billing.errors import BillingError, CaptureExceedsHold, HoldNotOpen, TransferConflict
from billing.kit.query import Conn
from billing.ledger.capture import capture
from billing.ledger.hold import lock_holds
from billing.ledger.model import Captured, CaptureRequest, OpenHold
from billing.pricing.charge import billable, charge, payable


async def settle(conn: Conn, deliveries: Sequence[Delivery]) -> list[Settled | BillingError]:
    """Captures, accrues the compute cost and records the usage of each, in the caller's transaction. One outcome each.

    A delivery that was settled before returns what was charged then; with another quantity or price it is a
    TransferConflict. A hold that was released or never made is HoldNotOpen. Refusals change nothing.
    """
    holds = await lock_holds(conn, [one.id for one in deliveries])
    stored = await _stored(conn, [found.id for found in holds.values() if found.state == "captured"])
    volumes = await lock_volumes(conn, (_volume(one) for one in deliveries if one.id in holds and one.id not in stored))
    plans: dict[UUID, _Plan] = {}
    outcomes: list[Settled | BillingError | UUID] = []
    for one in deliveries:
        found = holds.get(one.id)
        if one.id in plans:
            outcomes.append(one.id if plans[one.id].delivery == one else _conflict(one))
        elif one.id in stored:
            outcomes.append(_again(one, stored[one.id]))
        elif found is None or found.state != "held":
            outcomes.append(HoldNotOpen(f"hold {one.id} is {found.state if found else 'missing'}"))
        else:
            plan = _plan(one, found, volumes.position(_volume(one)))
            if isinstance(plan, _Plan):
                plans[one.id] = plan
                volumes.advance(_volume(one), plan.counted)
            outcomes.append(one.id if isinstance(plan, _Plan) else plan)
    settled = await _write(conn, list(plans.values()), holds, volumes) if plans else {}
    return [settled[outcome] if isinstance(outcome, UUID) else outcome for outcome in outcomes]


class _Plan(msgspec.Struct, frozen=True):
    """How a delivery is to be charged."""

    delivery: Delivery
    quantity: int
    position: int
    seconds_ms: int
    amount_micro: int
    sponsor_micro: int

    @property
    def counted(self) -> int:
        """What money pays for; only that moves the volume on, because the price of prepaid seconds is fixed."""
        return payable(self.delivery.terms, self.quantity, self.seconds_ms)

    def request(self) -> CaptureRequest:
        one, terms = self.delivery, self.delivery.terms
        payload: dict[str, int | str] = {
            "requested": one.requested,
            "delivered": one.delivered,
            "unit": terms.unit,
            "rate_card": str(terms.rate_card_id),
            "price_micro": terms.price_micro,
            "position": self.position,
        }
        return CaptureRequest(one.id, self.seconds_ms, self.amount_micro, self.sponsor_micro, payload)


def _plan(one: Delivery, found: OpenHold, position: int) -> _Plan | CaptureExceedsHold:
    quantity = min(one.delivered, one.requested)
    seconds_ms = min(found.held_ms, billable(one.terms, quantity))
    amount_micro = charge(one.terms, quantity, position, seconds_ms)
    if amount_micro > found.held_micro:
        return CaptureExceedsHold(f"hold {one.id}: {amount_micro}")
    sponsored = sum(draw.amount for draw in found.draws if draw.part == "sponsor")
    return _Plan(one, quantity, position, seconds_ms, amount_micro, min(one.facts.cost_micro, sponsored))


async def _write(conn: Conn, plans: Sequence[_Plan], holds: Mapping[UUID, OpenHold], volumes: Volumes) -> dict[UUID, Settled]:
    captured: dict[UUID, Captured] = {}
    for outcome in await capture(conn, [plan.request() for plan in plans], holds):
        if isinstance(outcome, BillingError):
            raise outcome  # the plan was made from the very hold that is locked
        captured[outcome.id] = outcome
    await volumes.write(conn)
    await accrue(conn, [plan.delivery for plan in plans])
    ours = {account for plan in plans for account in revenue_accounts(plan.delivery.book, plan.delivery.terms.currency)}
    transfers = [one.transfer_id for one in captured.values() if one.seconds_ms]
    revenue = await recognised(conn, transfers, ours)
    used = [_usage(plan, captured[plan.delivery.id], revenue) for plan in plans]
    await record(conn, used)
    return {
        one.subject_id: Settled(
            one.subject_id, one.granted_micro + one.net_micro, one.seconds_ms, one.granted_micro, one.prepaid_micro
        )
        for one in used
    }


def _usage(plan: _Plan, captured: Captured, revenue: Mapping[UUID, int]) -> Usage:
    one, terms = plan.delivery, plan.delivery.terms
    net_micro = captured.amount_micro - captured.promo_micro
    video = terms.unit == "ms"
    return msgspec.structs.replace(
        usage_of(one.id, series_of(one, one.facts, "succeeded"), one.facts),
        transfer_id=captured.transfer_id,
        gross_micro=charge(terms, plan.quantity, plan.position),
        granted_micro=captured.promo_micro,
        net_micro=net_micro,
        prepaid_micro=revenue[captured.transfer_id] - net_micro if captured.transfer_id in revenue else 0,
        requested_ms=one.requested if video else 0,
        delivered_ms=one.delivered if video else 0,
        billed_ms=billable(terms, plan.quantity) if video else 0,
        seconds_ms=captured.seconds_ms,
        images=0 if video else plan.quantity,
    )


async def _stored(conn: Conn, ids: Sequence[UUID]) -> dict[UUID, sql.Recorded]:
    """The charges that were recorded for these jobs."""
    rows = await sql.USAGE_OF.all(conn, ids) if ids else []
    return {row.subject_id: row for row in rows if row.kind == "charge"}


def _again(one: Delivery, stored: sql.Recorded) -> Settled | TransferConflict:
    quantity = min(one.delivered, one.requested)
    asked = (one.requested, one.delivered, 0) if one.terms.unit == "ms" else (0, 0, quantity)
    same = (stored.requested_ms, stored.delivered_ms, stored.images) == asked and stored.rate_card_id == one.terms.rate_card_id
    return (
        Settled(one.id, stored.granted_micro + stored.net_micro, stored.seconds_ms, stored.granted_micro, stored.prepaid_micro)
        if same
        else _conflict(one)
    )


def _conflict(one: Delivery) -> TransferConflict:
    return TransferConflict(f"{one.id} was settled otherwise")


def _volume(one: Delivery) -> Key:
    return one.customer_id, one.book, one.terms.volume_key
