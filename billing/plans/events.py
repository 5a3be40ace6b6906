"""What happened in the money plane, told once each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.plans import sql

EventKind: TypeAlias = Literal[
    "plan.started", "plan.renewed", "plan.changed", "plan.past_due", "plan.ended", "budget.reached", "wallet.runs_dry",
    "invoice.finalised", "credit_note.finalised", "invoice.paid", "invoice.reminded", "invoice.overdue", "payment.succeeded",
    "payment.failed", "payment.action_required", "payment.refunded", "refund.failed", "purchase.refused", "recharge.paused",
    "dispute.opened", "dispute.won", "dispute.lost", "quota.reached",
]  # fmt: skip
Facts: TypeAlias = Mapping[str, int | str]


class Event(msgspec.Struct, frozen=True):
    """`data` is JSON. Positions only grow; what was told at once may leave gaps between them."""

    position: int
    id: UUID
    customer_id: UUID
    kind: str
    data: msgspec.Raw
    created_at: datetime


async def tell(conn: Conn, kind: EventKind, source: str, customer_id: UUID, data: Facts) -> bool:
    """Adds the event of `kind` for `source`, once; True if it is new. Until the commit no other event can be added."""
    await sql.LOCK_EVENTS.run(conn)
    return await sql.ADD_EVENT.run(conn, derived_id(f"event:{kind}", source), customer_id, kind, msgspec.json.encode(data)) > 0


async def events_after(conn: Conn, position: int, *, customer_id: UUID | None = None, limit: int = 100) -> list[Event]:
    """The next events after `position`, of everybody or one customer. Nothing is ever added before what this returned."""
    rows = await sql.EVENTS_AFTER.all(conn, position, customer_id, limit)
    return [
        Event(row.position, row.id, row.customer_id, row.kind, msgspec.Raw(row.data), row.created_at) for row in rows
    ]  # fmt: skip
