from collections.abc import AsyncIterator

import pytest

from billing.kit.query import Conn
from tests.billing.charges.book import Usages, open_usages
from tests.billing.charges.till import Till, open_till


@pytest.fixture
async def usages(database: Conn) -> Usages:
    return await open_usages(database)


@pytest.fixture
async def till(database: Conn) -> AsyncIterator[Till]:
    """A customer with a hundred. Whatever a test did through the verbs, the ledger must be sound when it ends."""
    opened = await open_till(database)
    yield opened
    assert await opened.findings() == []
