"""What finance books by hand, invoice by invoice and month by month."""

from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from tests.billing.simulator.oracle.books import Refused
from tests.billing.simulator.oracle.contracts import Contracts
from tests.billing.simulator.oracle.jobs import Outcome
from tests.billing.simulator.oracle.plans import MINOR

Owed = tuple[UUID, int]
"""An invoice and its total."""


@dataclass
class Settled:
    customer: UUID
    invoice: UUID
    amount: int
    part: int
    undone: bool = False

    def told(self) -> Outcome:
        return "settled", self.amount, self.part, self.undone


@dataclass
class Oracle(Contracts):
    """All of it. `bills`: of a pool's month, what each reference billed, was accrued at and booked."""

    settled: dict[tuple[str, str], Settled] = field(default_factory=dict)
    bills: dict[tuple[str, date], dict[str, tuple[int, int, int]]] = field(default_factory=dict)

    def left(self, invoice: UUID, total: int) -> int:
        parts = [one.part for one in self.settled.values() if one.invoice == invoice and not one.undone]
        return total - self.noted[invoice] - sum(parts)

    def receive_wire(self, customer: UUID, owed: Owed, reference: str, currency: str, amount: int) -> Outcome:
        if currency != self.currency[customer] or amount <= 0:
            raise Refused("wire_refused")
        part = min(amount, max(self.left(*owed), 0))
        return self._settle("wire", customer, owed[0], reference, amount, part)

    def write_off(self, customer: UUID, owed: Owed, reference: str, amount: int | None) -> Outcome:
        left, before = self.left(*owed), self.settled.get(("write_off", reference))
        if before is not None:
            amount = before.amount if amount is None else amount
        else:
            amount = left if amount is None else amount
            if not 0 < amount <= left:
                raise Refused("write_off_refused")
        return self._settle("write_off", customer, owed[0], reference, amount, amount)

    def _settle(self, kind: str, customer: UUID, invoice: UUID, reference: str, amount: int, part: int) -> Outcome:
        before = self.settled.get((kind, reference))
        if before is not None:
            if (before.invoice, before.amount) != (invoice, amount):
                raise Refused("payment_conflict")
            return before.told()
        made = self.settled[kind, reference] = Settled(customer, invoice, amount, part)
        self._book(kind, made, 1)
        return made.told()

    def _book(self, kind: str, one: Settled, sign: int) -> None:
        asset, account = self.currency[one.customer], self.credit(one.customer)
        assert account is not None
        self.move(asset, "asset:bank" if kind == "wire" else "expense:bad_debt", "asset:receivable", one.part * MINOR * sign)
        account.floor -= one.part * MINOR * sign
        self.move(asset, "asset:bank", self.paid(one.customer), (one.amount - one.part) * MINOR * sign)

    def undo(self, customer: UUID, kind: str, reference: str) -> Outcome:
        one = self.settled.get((kind, reference))
        if one is None or one.customer != customer:
            raise Refused("unknown_settlement")
        if not one.undone:
            rest = (one.amount - one.part) * MINOR
            if rest and self.paid(customer).free < rest:
                raise Refused("insufficient_funds")
            one.undone = True
            self._book(kind, one, -1)
        return one.told()

    def true_up(self, pool: str, month: date, reference: str, billed_micro: int) -> Outcome:
        bills = self.bills.setdefault((pool, month), {})
        if reference in bills:
            if bills[reference][0] != billed_micro:
                raise Refused("payment_conflict")
            return "bill", *bills[reference]
        if month == self.now.date().replace(day=1) or not any(amount for (of, _), amount in self.accrued.items() if of == pool):
            raise Refused("bill_refused")
        accrued = self.accrued[pool, month]
        booked = billed_micro - accrued - sum(before for _, _, before in bills.values())
        self.move("USD", "expense:cogs", "liability:gpu_accrued", booked)
        bills[reference] = billed_micro, accrued, booked
        return "bill", *bills[reference]
