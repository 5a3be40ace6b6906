from collections.abc import AsyncIterator

import pytest

from billing.kit.query import Conn
from tests.billing.ledger.book import Ledger, open_ledger


@pytest.fixture
async def ledger(database: Conn) -> AsyncIterator[Ledger]:
    """A hundred in one account. Whatever a test did through the verbs, the ledger must be sound when it ends."""
    opened = await open_ledger(database)
    yield opened
    assert await opened.findings() == []


@pytest.fixture
async def damaged(database: Conn) -> Ledger:
    """A ledger whose tables a test damages."""
    return await open_ledger(database)
