from collections.abc import AsyncIterator

import pytest

from billing.kit.query import Conn
from tests.jobs.shop import Shop, open_shop


@pytest.fixture
async def shop(database: Conn) -> AsyncIterator[Shop]:
    """Whatever a test did through the verbs, ledger and jobs must agree when it ends; one that plants damage checks itself."""
    opened = await open_shop(database)
    yield opened
    assert await opened.findings() == []


@pytest.fixture
async def damaged(database: Conn) -> Shop:
    """A shop whose tables a test damages."""
    return await open_shop(database)
