"""An office over the test's own database and its own Stripe."""

from collections.abc import AsyncIterator

import pytest

from billing.kit.query import Pool
from tests.billing.conftest import Clock
from tests.billing.plans.shop import Shop
from tests.billing.stripe.office import Office, open_office
from tests.stripe.control import Control
from tests.stripe.fixtures import control, stripe_server
from tests.stripe.server.server import Server

__all__ = ["control", "stripe_server"]


@pytest.fixture
async def office(pool: Pool, shop: Shop, clock: Clock, control: Control, stripe_server: Server) -> AsyncIterator[Office]:
    async with open_office(pool, shop, clock, control, stripe_server.url) as opened:
        await opened.opens()
        yield opened
