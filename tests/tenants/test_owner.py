"""On a server of somebody else's, whoever owns the tables is no superuser: forced policies hold for them too."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from billing.kit.migrate import migrate
from billing.kit.pool import APP_ROLE, open_pool, prepare, tenant
from billing.ledger.chain import seal
from billing.ledger.verify import verify
from gateway.jobs.verify import verify_jobs
from gateway.migrations import FOLDERS
from tests.conftest import drop, on_database
from tests.jobs.shop import open_shop


@pytest.fixture
async def owned(server_dsn: str, template: str) -> AsyncIterator[str]:
    """The DSN of an empty database, as its owner: a member of `tallylight_app`, which is there already, and nothing more."""
    name = f"tallylight_owner_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'owner'")
    await admin.execute(f"GRANT tallylight_app TO {name}")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(server_dsn)
    yield urlunsplit(parts._replace(netloc=f"{name}:owner@{parts.hostname}:{parts.port}", path=f"/{name}"))
    await drop(on_database(server_dsn, name), server_dsn)
    await admin.execute(f"DROP ROLE {name}")
    await admin.close()


async def test_an_owner_without_privileges_migrates_serves_and_verifies(owned: str) -> None:
    conn = await asyncpg.connect(owned)
    try:
        await prepare(conn)
        await migrate(conn, FOLDERS)
        ada, _ = [await open_shop(conn, name) for name in ("ada", "bob")]
        held = await ada.running()
        await ada.settle(ada.delivered(held))
        async with conn.transaction():
            assert await seal(conn)
        assert await verify(conn) == [] and await verify_jobs(conn) == []
        async with await open_pool(owned, name="tests", role=APP_ROLE, size_min=1, size_max=1) as pool:
            async with tenant(pool, ada.org_id) as one:
                assert await one.fetchval("SELECT count(*) FROM gateway.organization") == 1
            async with pool.acquire() as every:
                assert await every.fetchval("SELECT count(*) FROM gateway.organization") == 2
        assert await conn.fetchval("SELECT count(*) FROM gateway.organization") == 2
    finally:
        await conn.close()
