"""What admission needs to know of each customer's plan: one statement for a whole batch."""

from collections.abc import Collection, Mapping
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
    """`seconds`: wallets of prepaid seconds by class. `credit_micro`: what may still be owed. `blocked`: why nothing starts."""

    customer_id: UUID
    currency: str
    seconds: Mapping[str, UUID]
    sponsor: SponsoredBy | None
    credit_micro: int
    blocked: Blocked


async def authorize(conn: Conn, customer_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """How each customer may pay, by id; unknown ones are left out. Balances are for the hold to judge, not for this."""
    return {
        row.customer_id: Standing(
            row.customer_id,
            row.currency,
            dict(zip(row.classes, row.wallets, strict=True)),
            _sponsor(row),
            row.credit_micro,
            "plan_past_due" if row.past_due else "",
        )
        for row in await sql.STANDINGS.all(conn, list(customer_ids))
    }


def _sponsor(row: sql.StandingRow) -> SponsoredBy | None:
    if row.budget is None or row.cost_currency is None:
        return None
    return SponsoredBy(wallet_id(budget_holder_id(row.budget), "live", row.cost_currency), row.cost_currency)
