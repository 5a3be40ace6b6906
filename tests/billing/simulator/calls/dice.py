"""What all calls are drawn with."""

from datetime import datetime
from typing import Any
from uuid import UUID

from billing.errors import BillingError
from billing.pricing.model import RateCard
from tests.billing.simulator.offers import CATALOGUE
from tests.billing.simulator.world import World

BUDGET = CATALOGUE.budgets[0]


class Dice:
    """`cards`: for whom, in which currency, what each says, and since when."""

    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        self.world, self.choose, self.customers = world, world.choose, customers
        self.everybody = (*customers, BUDGET.holder_id)
        self.cards: list[tuple[UUID | None, str, RateCard, datetime]] = []

    def source(self) -> str:
        return f"{self.choose.getrandbits(64):x}"

    def customer(self) -> UUID:
        return self.choose.choice(self.customers)

    def asset(self, customer: UUID) -> str:
        return self.world.oracle.currency[customer]


def none(_: object) -> None:
    """Nothing to compare."""


async def nothing(work: Any) -> None:
    """Awaits the work; what it returns is not compared."""
    await work


async def in_order(work: Any) -> list[Any]:
    outcomes = await work
    for one in outcomes:
        if isinstance(one, BillingError):
            raise one
    return sorted(outcomes, key=lambda invoice: str(invoice.customer_id))
