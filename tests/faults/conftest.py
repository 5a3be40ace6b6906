"""A workshop on a Triton that takes half a second for the usual nine frames, so that something can happen meanwhile."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from billing.kit.query import Pool
from tests.faults.proxy import Way, way_to
from tests.faults.workshop import Triton, Workshop, open_workshop, started


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    yield from started(tmp_path_factory.mktemp("triton"), TESTCARD_PACE="1")


@pytest.fixture
async def workshop(pool: Pool, dsn: str, triton: Triton, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(pool, dsn, tmp_path, [triton.port]) as opened:
        yield opened


@pytest.fixture
async def way(dsn: str) -> AsyncIterator[Way]:
    """To the test's database."""
    async with way_to(dsn) as opened:
        yield opened
