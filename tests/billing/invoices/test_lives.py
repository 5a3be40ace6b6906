"""Random lives, replayed by their seed: whatever happens, documents are the ledger."""

import random
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest

from billing.errors import (
    BillingError,
    CreditRefused,
    InsufficientFunds,
    PlanChangeRefused,
    RefundExceedsCapture,
    SubscriptionConflict,
    UnknownSubscription,
)
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.model import Invoice
from billing.invoices.read import invoices
from billing.invoices.sales import invoice_sales
from billing.ledger.model import credit_account_id, wallet_id
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.change import cancel, change_plan
from billing.plans.renew import expire_grants, renew_due
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from tests.billing.conftest import Clock
from tests.billing.invoices.test_close import CONTRACT
from tests.billing.plans.shop import CATALOGUE, YUAN, Shop, sellers

ANN = UUID(int=1)
PLANS = ("studio", "studio-pro", "free", "lite")
STEPS = 60
REFUSALS = (CreditRefused, InsufficientFunds, PlanChangeRefused, RefundExceedsCapture, SubscriptionConflict, UnknownSubscription)


class Life:
    """One customer who does anything at any time. A refusal is an answer like any other; what it wrote is rolled back."""

    def __init__(self, shop: Shop, clock: Clock, seed: int) -> None:
        self.shop, self.clock, self.dice, self.nth = shop, clock, random.Random(seed), 0
        self.open: list[tuple[UUID, int]] = []
        self.settled: list[UUID] = []

    async def step(self) -> None:
        self.nth += 1
        deeds = [self.orders, self.orders, self.settles, self.settles, self.refunds, self.pays, self.buys, self.begins,
                 self.changes, self.cancels, self.clerk, self.credits, self.waits, self.waits]  # fmt: skip
        with suppress(*REFUSALS):
            await self.dice.choice(deeds)()

    async def orders(self) -> None:
        duration_ms = self.dice.randrange(1, 400_000)
        job = await self.shop.holds(ANN, duration_ms)
        if isinstance(job, UUID):
            self.open.append((job, duration_ms))

    async def settles(self) -> None:
        if self.open:
            job, duration_ms = self.open.pop(self.dice.randrange(len(self.open)))
            await self.shop.settles(ANN, job, duration_ms)
            self.settled.append(job)

    async def refunds(self) -> None:
        if self.settled:
            job = self.settled.pop(self.dice.randrange(len(self.settled)))
            await self.shop.does(give_back, job)

    async def pays(self) -> None:
        await self.shop.tops_up(ANN, self.dice.randrange(1, 2_000 * YUAN))

    async def buys(self) -> None:
        payer = self.dice.choice(["wallet", "account"])
        await self.shop.sells(buy_pack, customer_id=ANN, pack="pack-1000", source=str(self.nth), payer=payer)

    async def begins(self) -> None:
        await self.shop.sells(subscribe, customer_id=ANN, plan=self.dice.choice(PLANS), source=str(self.nth))

    async def changes(self) -> None:
        await self.shop.sells(change_plan, customer_id=ANN, plan=self.dice.choice(PLANS), source=str(self.nth))

    async def cancels(self) -> None:
        await self.shop.does(cancel, ANN)

    async def clerk(self) -> None:
        await self.shop.sells(renew_due)
        assert all(isinstance(outcome, Invoice) for outcome in await self.shop.sells(close_due))
        await self.shop.sells(invoice_sales)
        await self.shop.does(expire_grants)

    async def credits(self) -> None:
        found = [one for one in await invoices(self.shop.conn, ANN, limit=100) if one.kind == "invoice" and not one.paid_minor]
        if found:
            invoice = self.dice.choice(found)
            amount = self.dice.randrange(1, abs(invoice.lines[0].amount_minor) + 2)
            await self.shop.sells(
                credit, customer_id=ANN, invoice_id=invoice.id, credits=[Credit(1, amount)], reason="x", source=str(self.nth)
            )

    async def waits(self) -> None:
        await self.clock.set(self.clock.at + timedelta(seconds=self.dice.randrange(1, 20 * 86_400)))


async def give_back(conn: object, job: UUID) -> None:
    from billing.charges.model import Refund
    from billing.charges.refund import refund

    (given,) = await refund(conn, [Refund(id=job, reason="late failure")])  # pyright: ignore[reportArgumentType] a connection
    if isinstance(given, BillingError):
        raise given


def signed(invoice: Invoice, amount: int) -> int:
    return amount if invoice.kind == "invoice" else -amount


@pytest.mark.parametrize("seed", range(4))
async def test_documents_are_the_ledger(shop: Shop, clock: Clock, seed: int) -> None:
    terms = read_catalogue(CONTRACT + "    minimum_micro = 30_000_000\n    commitment_micro = 200_000_000\n    term = 3\n")
    plans = (*CATALOGUE.plans, *terms.plans)
    await shop.does(publish_catalogue, type(CATALOGUE)(plans, CATALOGUE.packs, CATALOGUE.budgets))
    shop.sellers = sellers(inclusive=bool(seed % 2))
    await shop.opens(ANN, time_zone="America/Sao_Paulo" if seed > 1 else "Asia/Shanghai", topped_up=3_000 * YUAN)
    life = Life(shop, clock, seed)
    for _ in range(STEPS):
        await life.step()
    await life.clerk()

    documents = await invoices(shop.conn, ANN, limit=1000)
    books = await shop.books()
    assert books.get("asset:receivable", 0) == -sum(signed(one, one.due_minor) for one in documents) * 10_000
    account = credit_account_id(wallet_id(ANN, "live", "CNY"))
    rows = await shop.conn.fetch(
        "SELECT t.kind, sum(e.amount)::bigint AS amount FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id"
        " WHERE e.account_id = $1 GROUP BY t.kind",
        account,
    )
    moved = {row["kind"]: row["amount"] for row in rows}
    invoiced = sum(signed(one, line.amount_micro) for one in documents for line in one.lines if line.kind == "usage")
    assert moved.get("close", 0) == invoiced
    unbilled = (await shop.balances(ANN)).get("credit", 0)
    assert moved.get("capture", 0) + moved.get("refund", 0) + invoiced == unbilled
    for one in documents:
        assert one.net_minor == sum(line.net_minor for line in one.lines) and one.tax_minor == sum(
            line.tax_minor for line in one.lines
        )
    for kind in ("invoice", "credit_note"):
        numbers = sorted((one.number[-13:-7], int(one.number[-6:])) for one in documents if one.kind == kind)
        years = {year for year, _ in numbers}
        assert all(
            [n for y, n in numbers if y == year] == list(range(1, 1 + sum(y == year for y, _ in numbers))) for year in years
        )
