"""An organization that is told what happens, and the clerk's hands: post, claim, send."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from billing.kit.query import Conn, Pool
from gateway.announce import Announcer
from gateway.courier import Courier
from gateway.egress.addresses import networks
from gateway.egress.guard import Egress
from gateway.media.signing import LinkSigner
from gateway.settings import Secret, Settings
from gateway.webhooks.endpoints import add_endpoint, find_endpoint
from gateway.webhooks.model import Delivery, Endpoint
from gateway.webhooks.post import post_events
from gateway.webhooks.sign import Secrets
from tests.jobs.shop import Shop, open_shop

MASTER = "a secret of the tests, long enough to derive from"
SECRETS = Secrets(MASTER)
SETTINGS = Settings(link_secret=Secret(MASTER), webhook_secret=Secret(MASTER), public_url="https://gateway.example.com")


class Office:
    """What tests do with webhooks, each in a transaction of its own."""

    def __init__(self, pool: Pool, shop: Shop) -> None:
        self.pool, self.shop = pool, shop

    async def endpoint(
        self, url: str | None, *, form: str = "native", events: Sequence[str] = (), livemode: bool = True
    ) -> Endpoint:
        async with self.pool.acquire() as conn, conn.transaction():
            return await add_endpoint(conn, self.shop.org_id, livemode=livemode, url=url, form=form, events=events)

    async def again(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint as it is now."""
        async with self.pool.acquire() as conn:
            return await find_endpoint(conn, endpoint.org_id, endpoint.id)

    async def post(self) -> int:
        """Posts until nothing is left; the number of events taken."""
        taken = 0
        while True:
            async with self.pool.acquire() as conn, conn.transaction():
                more = await post_events(conn)
            if not more:
                return taken
            taken += more

    async def deliveries(self, endpoint_id: UUID | None = None) -> list[tuple[str, str, int]]:
        """(event, state, tries) in the order they happened."""
        async with self.pool.acquire() as conn:
            rows = await conn.fetch(
                "SELECT event, state, tries FROM gateway.webhook_delivery WHERE $1::uuid IS NULL OR endpoint_id = $1"
                " ORDER BY happened_at, event",
                endpoint_id,
            )
        return [(row["event"], row["state"], row["tries"]) for row in rows]

    async def until(self, *wanted: tuple[str, str, int]) -> None:
        """Returns once the deliveries are these."""
        async with asyncio.timeout(20):
            while await self.deliveries() != list(wanted):
                await asyncio.sleep(0.02)

    async def hasten(self) -> None:
        """Everything that waits is due now, and every claim has run out."""
        async with self.pool.acquire() as conn:
            await conn.execute(
                "UPDATE gateway.webhook_delivery SET due_at = billing.now() - interval '1 s',"
                " claimed_until = CASE WHEN claimed_until IS NOT NULL THEN billing.now() - interval '1 s' END WHERE state = 'waiting'"
            )

    @asynccontextmanager
    async def courier(self, *, timeout_s: float = 20.0) -> AsyncGenerator[Courier]:
        """One that runs until the block ends."""
        egress = Egress(allowed=networks(["127.0.0.2/32"]))
        announcer = Announcer(SETTINGS, self.pool, LinkSigner({"1": MASTER.encode()}, "1"))
        sending = Courier(self.pool, egress, SECRETS, announcer.body, poll_s=0.05, timeout_s=timeout_s)
        running = asyncio.create_task(sending.run())
        try:
            yield sending
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await egress.close()


@pytest.fixture
async def shop(database: Conn) -> Shop:
    return await open_shop(database)


@pytest.fixture
async def office(pool: Pool, shop: Shop) -> Office:
    opened = Office(pool, shop)
    await opened.post()
    return opened


def waiting(*events: str) -> list[tuple[str, str, int]]:
    return [(event, "waiting", 0) for event in events]


__all__ = ["SECRETS", "Delivery", "Office", "waiting"]
