import pytest

from billing.kit.query import Conn
from tests.billing.charges.book import Usages, open_usages


@pytest.fixture
async def usages(database: Conn) -> Usages:
    return await open_usages(database)
