"""Jobs: ordered, held, delivered, released, given back, in any order and some of them twice."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from billing.charges.hold import hold
from billing.charges.model import Attempt, ChargeRequest, Delivery, Ended, Facts, Refund
from billing.charges.refund import refund
from billing.charges.release import release
from billing.charges.settle import settle
from billing.ledger.model import Sponsor, wallet_id
from billing.pricing.book import PriceBook
from billing.pricing.model import Book, Dimensions, RateCard, Terms
from billing.pricing.quote import terms
from tests.billing.simulator.calls.dice import BUDGET, Dice
from tests.billing.simulator.oracle import prices
from tests.billing.simulator.oracle.jobs import Order
from tests.billing.simulator.world import Call, World


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


class JobCalls(Dice):
    def __init__(self, world: World, customers: tuple[UUID, ...]) -> None:
        super().__init__(world, customers)
        self.book = PriceBook()
        self.jobs: list[Job] = []

    def _order(self, books: dict[UUID, Book]) -> Job:
        choose, customer = self.choose, self.customer()
        model = choose.choice(["film", "film", "film", "draft", "still"])
        rates = self._card(customer, model).models[model]
        want = Dimensions(
            model, "t2v", choose.choice(list(rates.resolution)), 24, choose.choice(list(rates.tier)),
            rates.audio is not None and choose.random() < 0.3, unit=rates.unit,
        )  # fmt: skip
        agreed = terms(books[customer], want)
        oracle = self.world.oracle
        price = prices.agree(oracle.currency[customer], rates, want, oracle.now, oracle.zone[customer])
        quantity = choose.choice([0, 1, 999, 4_000, 8_000, 8_001]) if price.is_video else choose.randrange(9)
        sponsor = (BUDGET.holder_id, choose.choice([0, 500, 9_000])) if choose.random() < 0.15 else None
        order = Order(UUID(int=self.choose.getrandbits(128)), customer, price, quantity, sponsor, model)
        delivered = choose.choice([quantity, quantity, quantity, quantity // 2, 0, 1, quantity + 500])
        return Job(order, agreed, delivered, self._facts(model))

    def _card(self, customer: UUID, model: str) -> RateCard:
        currency = self.asset(customer)
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
            for nth in range(1, choose.randrange(1, 5))
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

    def _billed(self) -> list[Job]:
        """One to eight of the last jobs that stand on a document, some of them twice."""
        holds = self.world.oracle.holds
        found = [job for job in self.jobs if job.order.id in holds and holds[job.order.id].line][-12:]
        return [self.choose.choice(found) for _ in range(self._size())] if found else []

    def _size(self) -> int:
        return self.choose.choice([1, 1, 2, 3, 5, 8])

    def _call(self, name: str, jobs: list[Job], run: Any, expect: Any) -> Call:
        customers = tuple({job.order.customer: None for job in jobs})
        sponsored = any(job.order.sponsor for job in jobs)
        ids = tuple({job.order.id: None for job in jobs})
        return Call(name, customers + ((BUDGET.holder_id,) if sponsored else ()), run, expect, ids)

    async def holds(self) -> Call:
        books = await self.book.in_force(self.world.conn, self.customers)
        jobs = [self._order(books) for _ in range(self._size())]
        kept = [job for job in self.jobs[-60:] if job.order.id in self.world.oracle.holds]
        self.jobs += jobs
        if kept and self.choose.random() < 0.1:  # an id that is used again, perhaps for something else
            job = self.choose.choice(kept)
            jobs.append(
                Job(replace(job.order, quantity=job.order.quantity + self.choose.choice([0, 1, 5])), job.terms, 0, job.facts)
            )
        if self.choose.random() < 0.1:
            jobs.append(self.choose.choice(jobs))
        requests = [job.request() for job in jobs]
        orders = [job.order for job in jobs]
        return self._call("hold", jobs, lambda conn: hold(conn, requests), lambda oracle: oracle.batch(orders))

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
        jobs = self._billed() if self.choose.random() < 0.4 else self._some("captured")
        given = [
            Refund(
                id=job.order.id, reason=self.choose.choice("xyz"), amount_micro=self.choose.choice([None, None, 0, 1, 700_001])
            )
            for job in jobs
        ]
        return self._call(
            "refund", jobs, lambda conn: refund(conn, given), lambda oracle: [oracle.refund(one) for one in given]
        ) if jobs else None  # fmt: skip
