"""What admission needs to know of each customer's plan: one statement for a whole batch."""

from collections.abc import Collection
from typing import Literal
from uuid import UUID

import msgspec

from billing.charges.model import COST_CURRENCY
from billing.kit.query import Conn
from billing.ledger.model import wallet_id
from billing.plans import sql
from billing.plans.model import budget_holder_id

Blocked = Literal["", "plan_past_due"]


class Standing(msgspec.Struct, frozen=True):
    """`sponsor`: the wallet of ours that a free job's compute cost must fit into. `blocked`: why nothing may start."""

    customer_id: UUID
    sponsor: UUID | None
    blocked: Blocked


async def authorize(conn: Conn, customer_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """What the plans of these customers mean for admission, by id; those without a plan in force are left out."""
    return {
        row.customer_id: Standing(
            row.customer_id,
            wallet_id(budget_holder_id(row.budget), "live", COST_CURRENCY) if row.budget else None,
            "plan_past_due" if row.past_due else "",
        )
        for row in await sql.STANDINGS.all(conn, list(customer_ids))
    }
