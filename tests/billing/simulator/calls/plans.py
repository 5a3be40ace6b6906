"""Plans, packs, invoices, and the janitors that move them on."""

from datetime import timedelta
from uuid import UUID

from billing.charges.months import add_months
from billing.charges.rollup import roll_up
from billing.invoices.close import close_due
from billing.invoices.credit import Credit, credit
from billing.invoices.sales import invoice_sales
from billing.ledger.chain import seal
from billing.plans.budgets import open_budget_days
from billing.plans.change import cancel, change_plan
from billing.plans.model import ContractPlan, Payer
from billing.plans.renew import expire_grants, renew_due
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from tests.billing.simulator.calls.bank import BankCalls
from tests.billing.simulator.calls.dice import in_order, none, nothing
from tests.billing.simulator.offers import CATALOGUE, SELLERS
from tests.billing.simulator.oracle.bank import Oracle
from tests.billing.simulator.world import Call

SOLD = "SELECT grant_id FROM billing.sale WHERE invoice_id = $1"


class PlanCalls(BankCalls):
    """`credited`: who was just given some of a running period back, and may now want its seconds' price back, too."""

    credited: UUID | None = None

    async def buys(self) -> Call:
        customer, source = self.customer(), self.source()
        payers: tuple[Payer, ...] = ("wallet", "wallet", "account")
        payer = self.choose.choice(payers)
        pack = self.choose.choice(CATALOGUE.packs).name
        return Call(
            "buy_pack", (customer,),
            lambda conn: buy_pack(conn, SELLERS, customer_id=customer, pack=pack, source=source, payer=payer),
            lambda oracle: oracle.buy_pack(customer, pack, source, payer),
        )  # fmt: skip

    def _plan(self, customer: UUID) -> str:
        currency = self.asset(customer).lower()
        fit = [plan.name for plan in CATALOGUE.plans if plan.name.endswith(currency) or plan.name == "free"]
        fit += [f"credit-{currency}"] * 3  # what is owed can be credited
        return self.choose.choice(fit if self.choose.random() < 0.95 else [plan.name for plan in CATALOGUE.plans])

    async def subscribes(self) -> Call:
        customer, source = self.customer(), self.source()
        plan = self._plan(customer)
        starts = self.world.at + timedelta(minutes=self.choose.choice([0, 90, 9_000])) if self.choose.random() < 0.25 else None
        return Call(
            "subscribe", (customer,),
            lambda conn: subscribe(conn, SELLERS, customer_id=customer, plan=plan, source=source, starts_at=starts),
            lambda oracle: oracle.subscribe(customer, plan, source, starts),
        )  # fmt: skip

    def _runs(self, customer: UUID) -> bool:
        """Whether the customer is in the middle of a period that may be changed."""
        one = self.world.oracle.current(customer)
        if one is None or one.period is None or isinstance(one.plan, ContractPlan):
            return False
        return one.state == "active" and self.world.at < one.period[1]

    async def changes(self) -> Call:
        running = [one for one in self.customers if self._runs(one)]
        customer = self.credited or self.choose.choice(running if running and self.choose.random() < 0.7 else self.customers)
        self.credited, source = self.credited if self.choose.random() < 0.5 else None, self.source()
        plan = self._plan(customer) if self.choose.random() < 0.7 else "free"
        return Call(
            "change", (customer,), lambda conn: change_plan(conn, SELLERS, customer_id=customer, plan=plan, source=source),
            lambda oracle: oracle.change(customer, plan, source),
        )  # fmt: skip

    async def cancels(self) -> Call:
        customer = self.customer()
        return Call("cancel", (customer,), lambda conn: cancel(conn, customer), lambda oracle: oracle.cancel(customer))

    async def credits(self) -> Call | None:
        """Part of a line of an invoice that is owed; now and then more than is left of it.

        Often of a period that goes on, so that its seconds may come back afterwards.
        """
        source = self.source()
        if any(one.payer == "account" and not (one.back or one.invoiced) for one in self.world.oracle.sales.values()):
            return Call("sales", (), lambda conn: invoice_sales(conn, SELLERS), Oracle.invoice_sales)
        owed = await self.owed()
        if not owed:
            return None
        used = [one for one in owed if one.lines[0].kind == "usage"][:8]
        sold = [
            one for one in owed if one.lines[0].kind in ("subscription", "rest") and one.period and self.world.at in one.period
        ]
        running = [one for one in sold if self._runs(one.customer_id)]
        dice = self.choose.random()
        invoice = self.choose.choice(running if running and dice < 0.5 else used if used and dice < 0.8 else owed)
        customer = invoice.customer_id
        self.credited = customer if invoice in running else self.credited
        nth = self.choose.randint(1, len(invoice.lines))
        line = invoice.lines[nth - 1].amount_minor
        amount = self.choose.choice([1, 7, line // 2, line // 2, line, line, line + 1])
        grant = await self.world.conn.fetchval(SOLD, invoice.id)
        of = grant or (invoice.period and invoice.period.starts_at)
        return Call(
            "credit", (customer,),
            lambda conn: credit(
                conn, SELLERS, customer_id=customer, invoice_id=invoice.id, credits=[Credit(nth, amount)], reason="", source=source
            ),
            lambda oracle: oracle.credit_note(customer, (invoice.id, source), (nth, line), amount, of),
        )  # fmt: skip

    # -- janitors ------------------------------------------------------------------------------------------------------
    async def janitor(self) -> Call:
        rows, seals = self.choose.choice([1, 50, 5000]), self.choose.choice([5, 500])
        return self.choose.choice(
            [
                Call("expire", self.everybody, expire_grants, Oracle.expire_grants),
                Call("renew", self.everybody, lambda conn: renew_due(conn, SELLERS), Oracle.renew_due),
                Call("budgets", self.everybody, open_budget_days, Oracle.open_budget_days),
                Call("close", self.everybody, lambda conn: in_order(close_due(conn, SELLERS)), Oracle.close_due),
                Call("sales", (), lambda conn: invoice_sales(conn, SELLERS), Oracle.invoice_sales),
                Call("roll_up", (), lambda conn: nothing(roll_up(conn, rows_max=rows)), none),
                Call("seal", (), lambda conn: nothing(seal(conn, seals)), none),
                Call("months", (), lambda conn: nothing(add_months(conn)), none),
            ]
        )
