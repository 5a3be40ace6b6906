"""A customer, and the gateway's side of its jobs: every verb in a transaction of its own."""

from typing import Any
from uuid import UUID

import msgspec

from billing.charges.hold import hold
from billing.charges.model import Attempt, ChargeRequest, Delivery, Ended, Facts, Refund, Settled
from billing.charges.refund import refund
from billing.charges.release import release
from billing.charges.settle import settle
from billing.errors import BillingError
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.ledger.model import Finding, Held, Refunded, Released, wallet_id
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, top_up
from billing.pricing.model import Step, Terms

CARD = UUID(int=77)
SECOND = 1_000_000
PLAIN = Terms(rate_card_id=CARD, currency="CNY", price_micro=SECOND)
PACKED = Terms(rate_card_id=CARD, currency="CNY", price_micro=SECOND, seconds_class="hd")
GRADUATED = Terms(
    rate_card_id=CARD, currency="CNY", price_micro=SECOND, steps=(Step(10_000, 5_000), Step(20_000, 1_000)), volume_key="2026-03/film",
)  # fmt: skip
IMAGES = Terms(rate_card_id=CARD, currency="CNY", price_micro=200_000, unit="image")
FACTS = Facts(
    project_id=UUID(int=10), key_id=UUID(int=20), model="film", task="t2v", resolution="720p", tier="standard", queue_ms=500,
    labels={"team": "a"}, end_user="u1",
    attempts=(Attempt(number=1, pool="h100", chip="H100", outcome="succeeded", run_ms=9000, cost_micro=1200),),
)  # fmt: skip


class Till:
    """A customer whose wallet holds what a test puts there."""

    def __init__(self, conn: Conn, customer: UUID) -> None:
        self.conn, self.customer = conn, customer

    async def top_up(self, amount_micro: int) -> None:
        async with self.conn.transaction():
            await top_up(self.conn, source=str(new_id()), customer_id=self.customer, asset="CNY", amount_micro=amount_micro)

    async def grant(self, kind: str, amount: int, **terms: Any) -> None:
        asset = "CNY" if kind == "promo" else "SEC:hd"
        async with self.conn.transaction():
            await issue(
                self.conn,
                [Issue(kind=kind, source=str(new_id()), customer_id=self.customer, asset=asset, amount=amount, **terms)],
            )

    async def pack(self, seconds_ms: int, basis_micro: int) -> None:
        await self.grant("pack", seconds_ms, currency="CNY", basis_micro=basis_micro)

    async def hold(self, *requests: ChargeRequest) -> list[Held | BillingError]:
        async with self.conn.transaction():
            return await hold(self.conn, requests)

    def request(self, quantity: int = 8000, terms: Terms = PLAIN, **others: Any) -> ChargeRequest:
        return ChargeRequest(id=new_id(), customer_id=self.customer, book="live", terms=terms, quantity=quantity, **others)

    async def held(self, quantity: int = 8000, terms: Terms = PLAIN) -> Delivery:
        """A job that is held for `quantity`, and its delivery of all of it."""
        request = self.request(quantity, terms)
        (outcome,) = await self.hold(request)
        assert isinstance(outcome, Held), outcome
        return Delivery(
            id=request.id,
            customer_id=self.customer,
            book="live",
            terms=terms,
            requested=quantity,
            delivered=quantity,
            facts=FACTS,
        )

    async def settle(self, *deliveries: Delivery) -> list[Settled | BillingError]:
        async with self.conn.transaction():
            return await settle(self.conn, deliveries)

    async def settled(self, quantity: int = 8000, terms: Terms = PLAIN) -> Settled:
        (outcome,) = await self.settle(await self.held(quantity, terms))
        assert isinstance(outcome, Settled), outcome
        return outcome

    async def release(self, *jobs: Ended) -> list[Released | BillingError]:
        async with self.conn.transaction():
            return await release(self.conn, jobs)

    async def refund(self, *refunds: Refund) -> list[Refunded | BillingError]:
        async with self.conn.transaction():
            return await refund(self.conn, refunds)

    async def balance(self, asset: str = "CNY") -> tuple[int, int]:
        """(posted, held)."""
        row = await self.conn.fetchrow(
            "SELECT coalesce(sum(posted), 0)::bigint, coalesce(sum(held), 0)::bigint FROM billing.balance WHERE wallet_id = $1",
            wallet_id(self.customer, "live", asset),
        )
        assert row is not None
        return row[0], row[1]

    async def usage(self, job: UUID) -> list[tuple[Any, ...]]:
        """(kind, outcome, granted, net, prepaid, gross, seconds_ms, delivered_ms, images, cost) of each row, in order."""
        rows = await self.conn.fetch(
            "SELECT s.kind, s.outcome, granted_micro, net_micro, prepaid_micro, gross_micro, seconds_ms, delivered_ms, images, cost_micro"
            " FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id WHERE subject_id = $1 ORDER BY u.at, u.xid",
            job,
        )
        return [tuple(row) for row in rows]

    async def cost(self, job: UUID) -> int:
        return await self.conn.fetchval(
            "SELECT coalesce(sum(e.amount), 0)::bigint FROM billing.transfer t JOIN billing.entry e ON e.transfer_id = t.id"
            " WHERE t.kind = 'cost' AND t.subject_id = $1 AND e.amount > 0",
            job,
        )

    async def findings(self) -> list[Finding]:
        async with self.conn.transaction(isolation="repeatable_read", readonly=True):
            return await verify(self.conn)


def ended(delivery: Delivery, facts: Facts | None, outcome: Any = "failed") -> Ended:
    return Ended(
        id=delivery.id, customer_id=delivery.customer_id, book=delivery.book, terms=delivery.terms, requested=delivery.requested,
        outcome=outcome, facts=facts,
    )  # fmt: skip


def delivering(delivery: Delivery, quantity: int) -> Delivery:
    return msgspec.structs.replace(delivery, delivered=quantity)


async def open_till(conn: Conn, funds_micro: int = 100 * SECOND) -> Till:
    till = Till(conn, new_id())
    async with conn.transaction():
        await open_wallet(conn, till.customer, "live", "CNY")
    if funds_micro:
        await till.top_up(funds_micro)
    return till
