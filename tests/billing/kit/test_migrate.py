"""Migrations as several processes meet them, and what may not be done to an applied one."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from billing.kit.migrate import MigrationError, migrate
from gateway.migrations import FOLDERS
from tests.conftest import Connection, drop, on_database

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def empty(server_dsn: str) -> AsyncGenerator[str]:
    name = f"tallylight_empty_{uuid4().hex[:12]}"
    conn: Connection = await asyncpg.connect(server_dsn)
    await conn.execute(f'CREATE DATABASE "{name}"')
    await conn.close()
    yield on_database(server_dsn, name)
    await drop(on_database(server_dsn, name), server_dsn)


def folder(tmp_path: Path, **files: str) -> Path:
    made = tmp_path / "module" / "migrations"
    made.mkdir(parents=True, exist_ok=True)
    for name, sql in files.items():
        (made / f"{name}.sql").write_text(sql)
    return made


async def test_three_processes_at_once_all_succeed(empty: str) -> None:
    argv = [sys.executable, "-m", "gateway", "migrate", "--dsn", empty, "--json"]
    running = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    done = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], done
    applied = [out for out, _ in done if "0001_ledger" in out]
    assert len(applied) == 1, "one of them applied everything, the others found it done"


async def test_again_changes_nothing(empty: str) -> None:
    conn: Connection = await asyncpg.connect(empty)
    assert len(await migrate(conn, FOLDERS)) > 0
    assert await migrate(conn, FOLDERS) == []
    await conn.close()


async def test_an_applied_file_may_not_change(empty: str, tmp_path: Path) -> None:
    conn: Connection = await asyncpg.connect(empty)
    await migrate(conn, [folder(tmp_path, **{"0001_a": "CREATE TABLE a ()"})])
    with pytest.raises(MigrationError, match="was changed after it was applied"):
        await migrate(conn, [folder(tmp_path, **{"0001_a": "CREATE TABLE b ()"})])
    await conn.close()


async def test_a_database_that_is_newer_is_refused(empty: str, tmp_path: Path) -> None:
    conn: Connection = await asyncpg.connect(empty)
    await migrate(conn, [folder(tmp_path, **{"0001_a": "CREATE TABLE a ()", "0002_b": "CREATE TABLE b ()"})])
    (tmp_path / "module" / "migrations" / "0002_b.sql").unlink()
    with pytest.raises(MigrationError, match="newer than this program"):
        await migrate(conn, [tmp_path / "module" / "migrations"])
    await conn.close()


async def test_a_broken_file_leaves_those_before_it(empty: str, tmp_path: Path) -> None:
    conn: Connection = await asyncpg.connect(empty)
    files = {"0001_a": "CREATE TABLE a ()", "0002_b": "CREATE TABLE b (); SELECT nonsense"}
    with pytest.raises(MigrationError, match="0002_b"):
        await migrate(conn, [folder(tmp_path, **files)])
    assert await conn.fetchval("SELECT array_agg(tablename::text) FROM pg_tables WHERE tablename IN ('a', 'b')") == ["a"]
    assert await migrate(conn, [folder(tmp_path, **{"0002_b": "CREATE TABLE b ()"})]) == ["module/0002_b.sql"]
    await conn.close()


async def test_a_file_with_another_name_is_refused(empty: str, tmp_path: Path) -> None:
    conn: Connection = await asyncpg.connect(empty)
    with pytest.raises(MigrationError, match="NNNN_name"):
        await migrate(conn, [folder(tmp_path, first="CREATE TABLE a ()")])
    await conn.close()
