"""The embedded PostgreSQL after accidents: killed with sessions open, killed before it was made, its lock file left behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from gateway.local import postgres
from gateway.local.postgres import LocalPostgres, LocalPostgresUnavailable
from tests.conftest import Connection, free_port


class Server:
    """A cluster and the process that serves it."""

    def __init__(self, folder: Path) -> None:
        self.cluster = postgres.prepare(folder, free_port())
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> subprocess.Popen[bytes]:
        await postgres.settle_leftovers(self.cluster)
        with (self.cluster.data / "log").open("ab") as log:
            self.process = subprocess.Popen(self.cluster.command(), cwd=self.cluster.data, stdout=log, stderr=log)
        async with asyncio.timeout(30):
            await postgres.answers(self.cluster.dsn_of("postgres"))
        return self.process

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(timeout=20)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(tmp_path / "data")
    yield made
    made.stop()


async def test_starts_again_after_it_was_killed_with_sessions_at_work(server: Server) -> None:
    first = await server.start()
    await postgres.make_database(server.cluster)
    await postgres.make_database(server.cluster)
    conn: Connection = await asyncpg.connect(server.cluster.dsn)
    await conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    at_work = asyncio.create_task(conn.execute("SELECT pg_sleep(600)"))
    await asyncio.sleep(0)
    first.kill()
    first.wait()
    assert (server.cluster.data / "pg" / "postmaster.pid").exists()
    await server.start()
    with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
        await at_work
    again: Connection = await asyncpg.connect(server.cluster.dsn)
    assert await again.fetchval("SELECT count(*) FROM kept") == 1
    await again.close()


async def test_ends_a_server_that_a_killed_run_left_running(server: Server) -> None:
    orphan = await server.start()
    waiting = asyncio.create_task(asyncio.to_thread(orphan.wait))
    await postgres.settle_leftovers(server.cluster)
    assert await waiting == 0, "it was asked to stop, not killed"
    assert not (server.cluster.data / "pg" / "postmaster.pid").exists()


async def test_ignores_a_lock_file_whose_process_is_another_now(server: Server) -> None:
    lock = server.cluster.data / "pg" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{server.cluster.data / 'pg'}\n1\n1\n\n127.0.0.1\n  1 2147483647\nready\n")
    await server.start()


async def test_a_second_prepare_finds_the_same_cluster(server: Server) -> None:
    assert postgres.prepare(server.cluster.data, 1).password == server.cluster.password


async def test_makes_anew_what_was_cut_off_while_it_was_made(tmp_path: Path) -> None:
    cut_off = tmp_path / "data" / "pg.new"
    cut_off.mkdir(parents=True)
    (cut_off / "PG_VERSION").write_text("18\n")
    assert isinstance(postgres.prepare(tmp_path / "data", 1), LocalPostgres)
    assert (tmp_path / "data" / "pg" / "postgresql.conf").exists()
    assert not cut_off.exists()


def test_says_what_is_wrong_when_it_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "initdb"
    broken.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(postgres, "_binary", lambda name: broken)
    with pytest.raises(LocalPostgresUnavailable, match="no space left on device"):
        postgres.prepare(tmp_path / "data", 1)
    assert not (tmp_path / "data" / "pg").exists()
