"""What finance books by hand: wires, what is given up, what was booked by mistake, and suppliers' bills."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from billing.bank.model import Kind
from billing.bank.receive import receive
from billing.bank.true_up import true_up
from billing.bank.undo import undo
from billing.bank.write_off import write_off
from billing.invoices.model import Invoice
from billing.kit.ids import derived_id
from tests.billing.simulator.calls.dice import Dice
from tests.billing.simulator.offers import CURRENCIES
from tests.billing.simulator.world import Call, World

OWED = """
    SELECT document FROM billing.invoice WHERE kind = 'invoice' AND paid_minor = 0 AND total_minor > 0
    ORDER BY position DESC LIMIT 30
"""


class BankCalls(Dice):
    """`settled`: who, by what, under which reference, and which invoice."""

    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        super().__init__(world, customers)
        self.settled: list[tuple[UUID, Kind, str, Invoice]] = []

    async def owed(self) -> list[Invoice]:
        return [msgspec.json.decode(row["document"], type=Invoice) for row in await self.world.conn.fetch(OWED)]

    async def _closed(self) -> Invoice | None:
        """Of a contract: what a sale's invoice leaves to pay hangs on returns, too."""
        closed = [one for one in await self.owed() if one.lines[0].kind in ("usage", "minimum", "commitment")]
        return self.choose.choice(closed[:8]) if closed else None

    def _reference(self, kind: Kind) -> str:
        """Now and then one that was used before, perhaps for something else."""
        used = [reference for _, before, reference, _ in self.settled if before == kind]
        return self.choose.choice(used) if used and self.choose.random() < 0.15 else self.source()

    async def wires(self) -> Call | None:
        invoice = await self._closed()
        if invoice is None:
            return None
        customer, reference = invoice.customer_id, self._reference("wire")
        left = self.world.oracle.left(invoice.id, invoice.total_minor)
        amount = self.choose.choice([0, 1, invoice.total_minor // 2, left, left, left + 5, invoice.total_minor])
        currency = invoice.currency if self.choose.random() < 0.95 else self.choose.choice(CURRENCIES)
        self.settled.append((customer, "wire", reference, invoice))
        return Call(
            "receive", (customer,),
            lambda conn: receive(
                conn, customer_id=customer, invoice_id=invoice.id, reference=reference, currency=currency, amount_minor=amount
            ),
            lambda oracle: oracle.receive_wire(customer, (invoice.id, invoice.total_minor), reference, currency, amount),
        )  # fmt: skip

    async def writes_off(self) -> Call | None:
        invoice = await self._closed()
        if invoice is None:
            return None
        customer, reference = invoice.customer_id, self._reference("write_off")
        amount = self.choose.choice([None, None, 1, invoice.total_minor])
        self.settled.append((customer, "write_off", reference, invoice))
        return Call(
            "write_off", (customer,),
            lambda conn: write_off(
                conn, customer_id=customer, invoice_id=invoice.id, reference=reference, reason="gone", amount_minor=amount
            ),
            lambda oracle: oracle.write_off(customer, (invoice.id, invoice.total_minor), reference, amount),
        )  # fmt: skip

    async def undoes(self) -> Call | None:
        if not self.settled:
            return None
        customer, kind, reference, _ = self.choose.choice(self.settled[-10:])
        settlement = derived_id("settlement", kind, reference)
        return Call(
            "undo", tuple({customer: None, **dict.fromkeys(self.customers)}),
            lambda conn: undo(conn, customer_id=customer, settlement_id=settlement, reason="mistake"),
            lambda oracle: oracle.undo(customer, kind, reference),
        )  # fmt: skip

    async def bills(self) -> Call:
        """For the last month as a rule; for this one, or one before all, now and then."""
        first = self.world.at.date().replace(day=1)
        month = self.choose.choice([first, *[(first - timedelta(days=1)).replace(day=1)] * 4])
        pool, reference = self.choose.choice("aabbc"), self.choose.choice(["one", "two", "three", self.source()])
        billed = self.choose.choice([0, 1, 7_777, 50_000, 2_000_000])
        asked: dict[str, Any] = {"pool": pool, "month": month, "reference": reference, "billed_micro": billed}
        return Call(
            "true_up", (), lambda conn: true_up(conn, currency="USD", **asked), lambda oracle: oracle.true_up(**asked)
        )  # fmt: skip
