from collections.abc import AsyncIterator

import pytest

from billing.kit.query import Conn, Pool
from tests.billing.conftest import Clock
from tests.quotas.desk import Desk, open_desk


@pytest.fixture
async def clock(database: Conn) -> Clock:
    """The database's clock, at the first moment of 2026 (UTC)."""
    made = Clock(database)
    await made.install()
    return made


@pytest.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    """Whatever a test did, ledger, jobs and quotas must agree when it ends."""
    opened = await open_desk(pool)
    yield opened
    assert await opened.findings() == []
