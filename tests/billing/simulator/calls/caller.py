"""Which call comes next, as the seed has it; or one of the last ones once more."""

from uuid import UUID

from tests.billing.simulator.calls.jobs import JobCalls
from tests.billing.simulator.calls.money import MoneyCalls
from tests.billing.simulator.calls.plans import PlanCalls
from tests.billing.simulator.world import Call, World

WEIGHTS = {
    "holds": 26, "settles": 22, "releases": 5, "refunds": 10, "tops_up": 7, "grants": 5, "buys": 4, "subscribes": 5, "changes": 5,
    "cancels": 2, "publishes": 1, "pays": 3, "cash": 2, "reverses": 1, "wires": 4, "writes_off": 1, "undoes": 2, "bills": 2, "limits": 4, "credits": 8, "janitor": 16, "again": 12,
}  # fmt: skip


class Caller(JobCalls, MoneyCalls, PlanCalls):
    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        super().__init__(world, customers)
        self.sent: list[Call] = []

    async def next(self) -> Call | None:
        (name,) = self.choose.choices(list(WEIGHTS), list(WEIGHTS.values()))
        call = await getattr(self, name)()
        if call is not None and name != "again":
            self.sent.append(call)
        return call

    async def again(self) -> Call | None:
        return self.choose.choice(self.sent[-40:]) if self.sent else None
