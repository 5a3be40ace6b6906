"""A real PostgreSQL for every test: one private server, one migrated template, a clone per test.

`TALLYLIGHT_TEST_DSN` names a server to use instead; its user must be allowed to create databases. `TALLYLIGHT_TEST_TEMPLATE`
names a migrated database on it, where many short runs would each migrate one.
"""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from billing.kit.migrate import migrate
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool, Record
from gateway.local import postgres
from gateway.migrations import FOLDERS

Connection: TypeAlias = "asyncpg.Connection[Record]"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def answers(dsn: str) -> None:
    """Returns once the server takes connections; bounded by ten seconds."""
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError, asyncpg.PostgresError):
                conn = await asyncpg.connect(dsn)
                await conn.close()
                return
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose user may create databases."""
    if given := os.environ.get("TALLYLIGHT_TEST_DSN"):
        yield given
        return
    cluster = postgres.prepare(tmp_path_factory.mktemp("postgres"), free_port(), durable=False)
    with Path(cluster.data / "log").open("wb") as log:
        server = subprocess.Popen(cluster.command(), cwd=cluster.data, stdout=log, stderr=log)
    try:
        dsn = cluster.dsn_of("postgres")
        asyncio.run(answers(dsn))
        yield dsn
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def template(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that nothing is connected to."""
    if given := os.environ.get("TALLYLIGHT_TEST_TEMPLATE"):
        yield given
        return
    name = f"tallylight_template_{uuid4().hex[:12]}"
    asyncio.run(make_template(server_dsn, name))
    yield name
    asyncio.run(drop(server_dsn, name))


async def make_template(server_dsn: str, name: str) -> None:
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'CREATE DATABASE "{name}"')
    await conn.close()
    conn = await asyncpg.connect(on_database(server_dsn, name))
    await migrate(conn, FOLDERS)
    await conn.close()


async def drop(server_dsn: str, name: str) -> None:
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await conn.close()


@pytest.fixture
async def dsn(server_dsn: str, template: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = f"tallylight_{uuid4().hex[:12]}"
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    await conn.close()
    yield on_database(server_dsn, name)
    await drop(server_dsn, name)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    async with await open_pool(dsn, name="tests", size_max=16) as opened:
        yield opened


@pytest.fixture
async def database(pool: Pool) -> AsyncIterator[Conn]:
    async with pool.acquire() as conn:
        yield conn


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test behind a knob runs only where its environment variable is set; CI knows these skips by name."""
    for item in items:
        for knob in item.iter_markers("knob"):
            if not os.environ.get(knob.args[0]):
                item.add_marker(pytest.mark.skip(reason=f"knob {knob.args[0]} is not set"))
