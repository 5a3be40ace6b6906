"""Which call comes next, as the seed has it: jobs, money, plans, janitors, and everything once more."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from billing.charges.hold import hold
from billing.charges.model import Attempt, ChargeRequest, Delivery, Ended, Facts, Refund
from billing.charges.months import add_months
from billing.charges.refund import refund
from billing.charges.release import release
from billing.charges.rollup import roll_up
from billing.charges.settle import settle
from billing.errors import BillingError
from billing.invoices.close import close_due
from billing.invoices.sales import invoice_sales
from billing.kit.ids import derived_id
from billing.ledger.chain import seal
from billing.ledger.grants import Issue, issue, take_back
from billing.ledger.model import Sponsor, credit_account_id, paid_account_id, wallet_id
from billing.ledger.post import Posting, post_all
from billing.ledger.reverse import reverse
from billing.ledger.wallets import set_credit_limit, top_up
from billing.plans.budgets import open_budget_days
from billing.plans.change import cancel, change_plan
from billing.plans.renew import expire_grants, renew_due
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from billing.pricing.book import PriceBook, publish
from billing.pricing.model import Dimensions, RateCard, Terms
from billing.pricing.quote import terms
from tests.billing.simulator.offers import CATALOGUE, CURRENCIES, SELLERS, some_card
from tests.billing.simulator.oracle import prices
from tests.billing.simulator.oracle.books import Grant, Refused
from tests.billing.simulator.oracle.contracts import Oracle
from tests.billing.simulator.oracle.jobs import Order
from tests.billing.simulator.world import Call, World

BUDGET = CATALOGUE.budgets[0]
WEIGHTS = {
    "holds": 26, "settles": 22, "releases": 5, "refunds": 9, "tops_up": 7, "grants": 5, "buys": 4, "subscribes": 4, "changes": 3,
    "cancels": 2, "publishes": 1, "pays": 3, "cash": 2, "reverses": 1, "returns": 1, "limits": 1, "janitor": 14, "again": 12,
}  # fmt: skip


class Job:
    """A job as the gateway knows it: what it was admitted with, and what became of it."""

    def __init__(self, order: Order, agreed: Terms, delivered: int, facts: Facts) -> None:
        self.order, self.terms, self.delivered, self.facts = order, agreed, delivered, facts

    def request(self) -> ChargeRequest:
        one, sponsor = self.order, self.order.sponsor
        budget = Sponsor(wallet_id(sponsor[0], "live", "USD"), sponsor[1]) if sponsor else None
        return ChargeRequest(
            id=one.id, customer_id=one.customer, book="live", terms=self.terms, quantity=one.quantity, sponsor=budget
        )

    def delivery(self) -> Delivery:
        one = self.order
        return Delivery(
            id=one.id, customer_id=one.customer, book="live", terms=self.terms, requested=one.quantity, delivered=self.delivered,
            facts=self.facts,
        )  # fmt: skip

    def ended(self) -> Ended:
        one = self.order
        return Ended(
            id=one.id, customer_id=one.customer, book="live", terms=self.terms, requested=one.quantity, outcome="failed",
            facts=self.facts,
        )  # fmt: skip


class Caller:
    """`cards`: for whom, in which currency, what each says, and since when."""

    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        self.world, self.choose, self.customers = world, world.choose, customers
        self.everybody = (*customers, BUDGET.holder_id)
        self.book = PriceBook()
        self.cards: list[tuple[UUID | None, str, RateCard, datetime]] = []
        self.jobs: list[Job] = []
        self.sent: list[Call] = []
        self.top_ups: list[tuple[UUID, str]] = []

    def id(self) -> UUID:
        return UUID(int=self.choose.getrandbits(128))

    def source(self) -> str:
        return f"{self.choose.getrandbits(64):x}"

    def customer(self) -> UUID:
        return self.choose.choice(self.customers)

    async def next(self) -> Call | None:
        (name,) = self.choose.choices(list(WEIGHTS), list(WEIGHTS.values()))
        call = await getattr(self, name)()
        if call is not None and name != "again":
            self.sent.append(call)
        return call

    async def again(self) -> Call | None:
        return self.choose.choice(self.sent[-40:]) if self.sent else None

    # -- jobs ----------------------------------------------------------------------------------------------------------
    async def _order(self) -> Job:
        choose, customer = self.choose, self.customer()
        model = choose.choice(["film", "film", "film", "draft", "still"])
        rates = self._card(customer, model).models[model]
        want = Dimensions(
            model, "t2v", choose.choice(list(rates.resolution)), 24, choose.choice(list(rates.tier)),
            rates.audio is not None and choose.random() < 0.3,
        )  # fmt: skip
        books = await self.book.in_force(self.world.conn, [customer])
        agreed = terms(books[customer], want)
        oracle = self.world.oracle
        price = prices.agree(oracle.currency[customer], rates, want, oracle.now, oracle.zone[customer])
        quantity = choose.choice([0, 1, 999, 4_000, 8_000, 8_001]) if price.is_video else choose.randrange(9)
        sponsor = (BUDGET.holder_id, choose.choice([0, 500, 9_000])) if choose.random() < 0.15 else None
        order = Order(self.id(), customer, price, quantity, sponsor, model)
        delivered = choose.choice([quantity, quantity, quantity, quantity // 2, 0, 1, quantity + 500])
        return Job(order, agreed, delivered, self._facts(model))

    def _card(self, customer: UUID, model: str) -> RateCard:
        currency = self.world.oracle.currency[customer]
        own = [card for whose, _, card, _ in self.cards if whose == customer]
        if own and model in own[-1].models:
            return own[-1]
        return [card for whose, priced, card, _ in self.cards if whose is None and priced == currency][-1]

    def _facts(self, model: str) -> Facts:
        choose = self.choose
        attempts = tuple(
            Attempt(
                number=nth,
                pool=choose.choice("ab"),
                chip="H100",
                outcome="failed",
                run_ms=7,
                cost_micro=choose.choice([0, 1, 777, 5000]),
            )
            for nth in range(1, choose.randrange(1, 4))
        )
        return Facts(
            project_id=UUID(int=choose.randrange(2)), key_id=UUID(int=3), model=model, task="t2v", resolution="720p", tier="standard",
            attempts=attempts, labels={"team": choose.choice("ab")},
        )  # fmt: skip

    def _some(self, state: str) -> list[Job]:
        """One to eight of the last jobs, most of them in that state, some of them twice."""
        recent, holds = self.jobs[-60:], self.world.oracle.holds
        fit = [job for job in recent if job.order.id in holds and holds[job.order.id].state == state]
        if not recent:
            return []
        return [self.choose.choice(fit if fit and self.choose.random() < 0.85 else recent) for _ in range(self._size())]

    def _size(self) -> int:
        return self.choose.choice([1, 1, 2, 3, 5, 8])

    def _call(self, name: str, jobs: list[Job], run: Any, expect: Any) -> Call:
        customers = tuple({job.order.customer: None for job in jobs})
        sponsored = any(job.order.sponsor for job in jobs)
        ids = tuple({job.order.id: None for job in jobs})
        return Call(name, customers + ((BUDGET.holder_id,) if sponsored else ()), run, expect, ids)

    async def holds(self) -> Call:
        jobs = [await self._order() for _ in range(self._size())]
        self.jobs += jobs
        if self.choose.random() < 0.1:
            jobs.append(self.choose.choice(jobs))
        requests = [job.request() for job in jobs]
        return self._call(
            "hold", jobs, lambda conn: hold(conn, requests), lambda oracle: [oracle.hold(job.order) for job in jobs]
        )

    async def settles(self) -> Call | None:
        jobs = self._some("held")
        deliveries = [job.delivery() for job in jobs]
        return self._call(
            "settle", jobs, lambda conn: settle(conn, deliveries),
            lambda oracle: [oracle.settle(job.order, job.delivered, job.facts.attempts) for job in jobs],
        ) if jobs else None  # fmt: skip

    async def releases(self) -> Call | None:
        jobs = self._some("held")
        ended = [job.ended() for job in jobs]
        return self._call(
            "release", jobs, lambda conn: release(conn, ended),
            lambda oracle: [oracle.release(job.order, job.facts.attempts, "failed") for job in jobs],
        ) if jobs else None  # fmt: skip

    async def refunds(self) -> Call | None:
        jobs = self._some("captured")
        given = [
            Refund(
                id=job.order.id, reason=self.choose.choice("xyz"), amount_micro=self.choose.choice([None, None, 0, 1, 700_001])
            )
            for job in jobs
        ]
        return self._call(
            "refund", jobs, lambda conn: refund(conn, given), lambda oracle: [oracle.refund(one) for one in given]
        ) if jobs else None  # fmt: skip

    # -- money ---------------------------------------------------------------------------------------------------------
    async def tops_up(self) -> Call:
        customer, amount = self.customer(), self.choose.choice([1, 3_000_000, 20_000_000, 55_555_555])
        source = self.source()
        if self.top_ups and self.choose.random() < 0.1:
            customer, source = self.choose.choice(self.top_ups)  # perhaps with another amount
        self.top_ups.append((customer, source))
        asset = self.world.oracle.currency[customer]
        return Call(
            "top_up", (customer,),
            lambda conn: top_up(conn, source=source, customer_id=customer, asset=asset, amount_micro=amount),
            lambda oracle: oracle.top_up(customer, source, amount),
        )  # fmt: skip

    async def grants(self) -> Call:
        """Promotional money, a voucher, credit for a broken promise, free seconds, seconds that were paid in cash."""
        choose, customer, source = self.choose, self.customer(), self.source()
        currency = self.world.oracle.currency[customer]
        event = choose.choice(["promo", "promo", "sla", "voucher", "allowance", "pack"])
        opens = {"sla": "promo", "voucher": "paid"}.get(event, event)
        in_seconds, sold = event in ("allowance", "pack"), event == "pack"
        start = self.world.at + timedelta(hours=choose.choice([-1, 1, 30])) if choose.random() < 0.2 else None
        end = self.world.at + timedelta(hours=choose.choice([2, 20, 90, 400])) if choose.random() < 0.8 else None
        end = None if start and end and end <= start else end
        amount = choose.choice([1, 777, 5_000]) if in_seconds else choose.choice([1, 1_000_000, 7_654_321])
        basis, tax = (choose.choice([0, 1, 999_999, 7_000_000]), choose.choice([0, 5])) if sold else (0, 0)
        asset = "SEC:hd" if in_seconds else currency
        wanted = Issue(
            kind=event, source=source, customer_id=customer, asset=asset, amount=amount, priority=choose.choice([0, 0, -1, 5]),
            starts_at=start, expires_at=end, currency=currency if sold else "", basis_micro=basis, tax_micro=tax,
        )  # fmt: skip

        def expect(oracle: Oracle) -> list[None]:
            new = Grant(customer, asset, opens, oracle.now, wanted.priority, start, end, amount, basis, currency if sold else "")
            oracle.issue(event, source, new, tax=tax)
            return [None]

        return Call("issue", (customer,), lambda conn: issue(conn, [wanted]), expect)

    async def buys(self) -> Call:
        customer, source, payer = self.customer(), self.source(), self.choose.choice(["wallet", "wallet", "account"])
        pack = self.choose.choice(CATALOGUE.packs).name
        return Call(
            "buy_pack", (customer,),
            lambda conn: buy_pack(conn, SELLERS, customer_id=customer, pack=pack, source=source, payer=payer),
            lambda oracle: oracle.buy_pack(customer, pack, source, payer),
        )  # fmt: skip

    async def publishes(self) -> Call:
        """A card that takes effect at once, for all or for one customer."""
        customer = self.customer() if self.choose.random() < 0.5 else None
        currency = self.world.oracle.currency[customer] if customer else self.choose.choice(CURRENCIES)
        card = some_card(self.choose, currency)
        if customer and self.choose.random() < 0.7:
            card = RateCard(currency, {name: card.models[name] for name in list(card.models)[: self.choose.randrange(3)]})
        return self.publishing(card, customer)

    def publishing(self, card: RateCard, customer: UUID | None = None) -> Call:
        def expect(oracle: Oracle) -> None:
            before = [one for one in self.cards if one[:2] == (customer, card.currency)][-1:]
            if before and before[0][2] == card:
                return
            if before and before[0][3] == oracle.now:
                raise Refused("rate_card_invalid")
            self.cards.append((customer, card.currency, card, oracle.now))

        return Call("publish", (), lambda conn: publish(conn, card, customer_id=customer), expect)

    async def pays(self) -> Call | None:
        customer, source = self.customer(), self.source()
        kind = self.choose.choice(["payment", "payment", "payment_from_wallet", "write_off"])
        amount = self.choose.choice([10_000, 5_000_000, 31_000_000])
        asset = self.world.oracle.currency[customer]
        wallet = wallet_id(customer, "live", asset)
        accounts = {"credit": credit_account_id(wallet)}
        accounts |= {"wallet": paid_account_id(wallet)} if kind == "payment_from_wallet" else {}
        posting = Posting(
            kind=kind, source=source, subject_id=customer, book="live", asset=asset, amounts={"amount": amount}, accounts=accounts,
            dimensions={"customer": str(customer)},
        )  # fmt: skip
        return Call(
            kind, (customer,), lambda conn: _nothing(post_all(conn, [posting])),
            lambda oracle: oracle.receive(kind, customer, source, amount),
        )  # fmt: skip

    async def cash(self) -> Call:
        customer, source, amount = self.customer(), self.source(), self.choose.choice([1, 2_000_000])
        then = self.choose.choice(["paid", "failed"])
        asset = self.world.oracle.currency[customer]
        paid = paid_account_id(wallet_id(customer, "live", asset))
        postings = [
            Posting(
                kind=kind, source=source, subject_id=customer, book="live", asset=asset, amounts={"amount": amount},
                accounts={} if kind == "cash_refund_paid" else {"wallet": paid},
            )
            for kind in ("cash_refund", f"cash_refund_{then}")
        ]  # fmt: skip
        return Call(
            "cash_refund", (customer,), lambda conn: _nothing(post_all(conn, postings)),
            lambda oracle: oracle.cash_refund(customer, source, amount, then=then),
        )  # fmt: skip

    async def reverses(self) -> Call | None:
        if not self.top_ups:
            return None
        customer, source = self.choose.choice(self.top_ups[-20:])
        return Call(
            "reverse", (customer,), lambda conn: reverse(conn, derived_id("top_up", source), "wrong"),
            lambda oracle: oracle.reverse_top_up(customer, source),
        )  # fmt: skip

    async def returns(self) -> Call | None:
        sold = [grant for grant in self.world.oracle.grants if grant.kind == "pack" and grant.id is not None]
        if not sold:
            return None
        grant, source, amount = self.choose.choice(sold[-10:]), self.source(), self.choose.choice([1, 500, 4_000])
        account = grant.id
        assert account is not None
        return Call(
            "take_back", (grant.customer,), lambda conn: take_back(conn, account, source=source, amount=amount),
            lambda oracle: oracle.take_back(grant, source, amount),
        )  # fmt: skip

    async def limits(self) -> Call:
        customer, source, limit = self.customer(), self.source(), self.choose.choice([0, 10_000_000, 40_000_000])
        asset = self.world.oracle.currency[customer]
        return Call(
            "limit", (customer,),
            lambda conn: _nothing(
                set_credit_limit(conn, source=source, customer_id=customer, book="live", asset=asset, limit_micro=limit)
            ),
            lambda oracle: _none(oracle.limit(customer, source, limit)),
        )  # fmt: skip

    # -- plans ---------------------------------------------------------------------------------------------------------
    def _plan(self, customer: UUID) -> str:
        currency = self.world.oracle.currency[customer].lower()
        fit = [plan.name for plan in CATALOGUE.plans if plan.name.endswith(currency) or plan.name == "free"]
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

    async def changes(self) -> Call:
        customer, source = self.customer(), self.source()
        plan = self._plan(customer)
        return Call(
            "change", (customer,), lambda conn: change_plan(conn, SELLERS, customer_id=customer, plan=plan, source=source),
            lambda oracle: oracle.change(customer, plan, source),
        )  # fmt: skip

    async def cancels(self) -> Call:
        customer = self.customer()
        return Call("cancel", (customer,), lambda conn: cancel(conn, customer), lambda oracle: oracle.cancel(customer))

    # -- janitors ------------------------------------------------------------------------------------------------------
    async def janitor(self) -> Call:
        rows, seals = self.choose.choice([1, 50, 5000]), self.choose.choice([5, 500])
        return self.choose.choice(
            [
                Call("expire", self.everybody, expire_grants, Oracle.expire_grants),
                Call("renew", self.everybody, lambda conn: renew_due(conn, SELLERS), Oracle.renew_due),
                Call("budgets", self.everybody, open_budget_days, Oracle.open_budget_days),
                Call("close", self.everybody, lambda conn: _sorted(close_due(conn, SELLERS)), Oracle.close_due),
                Call("sales", (), lambda conn: invoice_sales(conn, SELLERS), Oracle.invoice_sales),
                Call("roll_up", (), lambda conn: _nothing(roll_up(conn, rows_max=rows)), _none),
                Call("seal", (), lambda conn: _nothing(seal(conn, seals)), _none),
                Call("months", (), lambda conn: _nothing(add_months(conn)), _none),
            ]
        )


def _none(_: object) -> None:
    """Nothing to compare."""


async def _nothing(work: Any) -> None:
    """Awaits the work; what it returns is not compared."""
    await work


async def _sorted(work: Any) -> list[Any]:
    outcomes = await work
    for one in outcomes:
        if isinstance(one, BillingError):
            raise one
    return sorted(outcomes, key=lambda invoice: str(invoice.customer_id))
