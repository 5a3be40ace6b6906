"""A real PostgreSQL for every test: one private server, one migrated template, a clone per test.

`TALLYLIGHT_TEST_DSN` names a server to use instead; its user must be allowed to create databases. `TALLYLIGHT_TEST_TEMPLATE`
names a migrated database on it, where many short runs would each migrate one.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from billing.kit.migrate import migrate
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool, Record
from gateway.local import postgres
from gateway.migrations import FOLDERS

Connection: TypeAlias = "asyncpg.Connection[Record]"

# No test asserts a duration, so hypothesis does not either; in CI it keeps the rest of its own profile.
settings.register_profile("tests", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

MEMORY, MEMORY_MIN_BYTES = Path("/dev/shm"), 6 * 1024**3


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
    with in_memory() or nullcontext(tmp_path_factory.mktemp("postgres")) as folder:
        cluster = postgres.prepare(Path(folder), free_port(), durable=False)
        with Path(cluster.data / "log").open("wb") as log:
            server = subprocess.Popen(cluster.command(), cwd=cluster.data, stdout=log, stderr=log)
        try:
            dsn = cluster.dsn_of("postgres")
            asyncio.run(answers(dsn))
            yield dsn
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=20)


def in_memory() -> AbstractContextManager[str] | None:
    """A folder in memory where there is room for one: a database is some 800 files, and on a busy disk they take a second."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_MIN_BYTES):
        return None
    for left in MEMORY.glob("tallylight-tests-*"):  # by a run that was killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"tallylight-tests-{os.getpid()}-", dir=MEMORY)


@pytest.fixture(scope="session")
def template(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that nothing is connected to."""
    if given := os.environ.get("TALLYLIGHT_TEST_TEMPLATE"):
        yield given
        return
    name = f"tallylight_template_{uuid4().hex[:12]}"
    asyncio.run(make_template(server_dsn, name))
    yield name
    asyncio.run(drop(on_database(server_dsn, name), server_dsn))


async def make_template(server_dsn: str, name: str) -> None:
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'CREATE DATABASE "{name}"')
    await conn.close()
    conn = await asyncpg.connect(on_database(server_dsn, name))
    await migrate(conn, FOLDERS)
    await conn.close()


async def clone(server_dsn: str, template: str) -> str:
    """The DSN of a new database, migrated and empty."""
    name = f"tallylight_{uuid4().hex[:12]}"
    conn: Connection = await asyncpg.connect(server_dsn)
    # Files are copied sooner than their pages are logged, and no database of the tests outlives a crash.
    await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    await conn.close()
    return on_database(server_dsn, name)


async def drop(dsn: str, server_dsn: str) -> None:
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'DROP DATABASE IF EXISTS "{urlsplit(dsn).path[1:]}" WITH (FORCE)')
    await conn.close()


@contextmanager
def kept(server_dsn: str, template: str) -> Generator[str]:
    """A clone for a fixture that many tests share, made and dropped in a thread of its own: the caller may be running a loop."""
    with ThreadPoolExecutor(1) as thread:
        dsn = thread.submit(asyncio.run, clone(server_dsn, template)).result()
        yield dsn
        thread.submit(asyncio.run, drop(dsn, server_dsn)).result()


@pytest.fixture
async def dsn(server_dsn: str, template: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    made = await clone(server_dsn, template)
    yield made
    await drop(made, server_dsn)


@pytest.fixture(scope="module")
def module_dsn(server_dsn: str, template: str) -> Iterator[str]:
    """A migrated database that the tests of a module share."""
    with kept(server_dsn, template) as made:
        yield made


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
