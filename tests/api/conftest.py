"""An API process without a fleet: jobs stay queued."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import on_database
from tests.stack import Stack, beside, running_stack


@pytest.fixture(scope="session")
def desk(server_dsn: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    name = f"tallylight_{uuid4().hex[:12]}"

    async def clone() -> None:
        conn = await asyncpg.connect(server_dsn)
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        await conn.close()

    beside(clone())
    folder: Path = tmp_path_factory.mktemp("api")
    with running_stack(on_database(server_dsn, name), folder, replicas=0, roles=("api",)) as stack:
        yield stack
