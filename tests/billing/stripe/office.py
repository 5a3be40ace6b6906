"""A desk against the offline Stripe, both on one virtual clock, and messages that arrive as a test lets them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from billing.kit.pool import transact
from billing.kit.query import Pool
from billing.stripe.client import Stripe, open_stripe
from billing.stripe.desk import Desk
from billing.stripe.inbox import store_event
from billing.stripe.model import Order, Started
from billing.stripe.signature import read_event
from tests.billing.conftest import Clock
from tests.billing.plans.shop import Shop
from tests.stripe.control import Control
from tests.stripe.server.webhooks import signature
from tests.stripe.server.world import payload

ANN = UUID(int=1)
SECRET = "whsec_of_this_test"
KEY = "sk_test_offline"
RETURN = "https://example.com/back"


class Office:
    """`desk` is the product; the rest is what the world around it does."""

    def __init__(self, desk: Desk, stripe: Stripe, pool: Pool, shop: Shop, clock: Clock, control: Control) -> None:
        self.desk, self.stripe, self.pool, self.shop, self.clock, self.control = desk, stripe, pool, shop, clock, control

    async def opens(self, customer_id: UUID = ANN) -> UUID:
        return await self.shop.opens(customer_id)

    async def advance(self, **by: int) -> None:
        """Both clocks, by the same."""
        await self.clock.advance(**by)
        await self.control.advance(int(timedelta(**by).total_seconds()))

    async def pays(
        self, amount_minor: int, card: str = "pm_card_visa", *, customer_id: UUID = ANN, source: str = "s", **order: Any
    ) -> Started:
        """A customer pays on its own page with a card of Stripe's."""
        started = await self.desk.pay(customer_id, Order(amount_minor=amount_minor, flow="intent", **order), source)
        await self.confirms(started, card)
        return started

    async def confirms(self, started: Started, card: str = "pm_card_visa") -> int:
        """The customer's page confirms the payment; the status of Stripe's answer."""
        assert started.payment.intent_id is not None
        return await self.posts(f"payment_intents/{started.payment.intent_id}/confirm", payment_method=card, return_url=RETURN)

    @property
    def url(self) -> str:
        """Where Stripe is."""
        return str(self.control._client.base_url).removesuffix("/_control/")

    async def posts(self, path: str, **form: Any) -> int:
        """Whatever others do at Stripe with their own key; the status, 0 where there was no answer."""
        address = f"{self.url}/v1/{path}"
        try:
            return (await self.control._client.post(address, data=form, headers={"authorization": f"Bearer {KEY}"})).status_code
        except httpx.TransportError:
            return 0

    async def events(self) -> list[dict[str, Any]]:
        """Everything Stripe has ever told, in order."""
        return list((await self.control.dump())["tables"].get("event", {}).values())

    async def hears(self, events: Sequence[dict[str, Any]]) -> None:
        """These messages arrive, in this order, and are worked on after each."""
        for event in events:
            await self.keeps(event)
            await self.works()

    async def keeps(self, event: dict[str, Any]) -> bool:
        body = payload(event)
        header = signature(body, SECRET, int(self.clock.at.timestamp()))
        signed = read_event(body, header, SECRET)
        return await transact(self.pool, lambda conn: store_event(conn, signed))

    async def works(self) -> None:
        while await self.desk.work_events():
            pass

    async def reconciles(self) -> None:
        """What the clerk does in a day without a single message."""
        for _ in range(3):
            await self.advance(hours=8)
            await self.desk.poll()
            await self.desk.read_account()

    async def balances(self, customer_id: UUID = ANN) -> dict[str, int]:
        return await self.shop.balances(customer_id)

    async def books(self) -> dict[str, int]:
        return await self.shop.books()


@asynccontextmanager
async def open_office(pool: Pool, shop: Shop, clock: Clock, control: Control, url: str) -> AsyncGenerator[Office]:
    async with open_stripe(KEY, url) as stripe:
        yield Office(Desk(pool, stripe, shop.sellers), stripe, pool, shop, clock, control)
