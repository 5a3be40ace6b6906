"""Fixtures for tests that need a Stripe: `from tests.stripe.fixtures import control, stripe_client, stripe_server`."""

from collections.abc import AsyncIterator

import pytest
import stripe

from tests.stripe.control import Control
from tests.stripe.server.server import Server, serving
from tests.stripe.server.settings import Settings

NOW = 1_767_225_600
"""Where the clock stands when a test starts: the first second of 2026, UTC."""


@pytest.fixture
async def stripe_server() -> AsyncIterator[Server]:
    """A Stripe of this test's own, on a TCP port; its clock stands still and nothing is delivered until the test says so."""
    async with serving(Settings(webhooks="manual"), now=NOW, seed="test") as server:
        yield server


@pytest.fixture
async def control(stripe_server: Server) -> AsyncIterator[Control]:
    client = Control(stripe_server.url)
    yield client
    await client.close()


@pytest.fixture
async def stripe_client(stripe_server: Server) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK against that server; it retries nothing by itself."""
    http = stripe.HTTPXClient(timeout=20)
    yield stripe.StripeClient(
        stripe_server.world.settings.secret_keys[0],
        base_addresses={"api": stripe_server.url},
        http_client=http,
        max_network_retries=0,
    )
    await http.close_async()
