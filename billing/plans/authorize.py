"""What admission needs to know of each customer's plan: one statement for a whole batch."""

from collections.abc import Collection
from typing import Literal
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from billing.ledger.model import wallet_id
from billing.plans import sql
from billing.plans.model import Currency, budget_holder_id

Blocked = Literal["", "plan_past_due"]


class SponsoredBy(msgspec.Struct, frozen=True):
    """The wallet of ours that a free job's compute cost must fit into."""

    wallet_id: UUID
    currency: Currency


class Standing(msgspec.Struct, frozen=True):
    """`blocked`: why nothing may start."""

    customer_id: UUID
    sponsor: SponsoredBy | None
    blocked: Blocked


async def authorize(conn: Conn, customer_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """What the plans of these customers mean for admission, by id; those without a plan in force are left out."""
    return {
        row.customer_id: Standing(row.customer_id, _sponsor(row), "plan_past_due" if row.past_due else "")
        for row in await sql.STANDINGS.all(conn, list(customer_ids))
    }


def _sponsor(row: sql.StandingRow) -> SponsoredBy | None:
    if row.budget is None or row.cost_currency is None:
        return None
    return SponsoredBy(wallet_id(budget_holder_id(row.budget), "live", row.cost_currency), row.cost_currency)
