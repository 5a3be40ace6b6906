"""Plain-SQL migrations: checksummed, forward only, safe when several processes start at once."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import msgspec
import structlog

from billing.kit.query import Command, Conn, Query

log = structlog.get_logger(__name__)

_LOCK = 7_281_330_114
_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


class Applied(msgspec.Struct, frozen=True):
    name: str
    sha256: str


class MigrationError(Exception):
    """A migration was changed after it had been applied, is missing, or failed."""


class Migration(msgspec.Struct, frozen=True):
    """`name` is `<package>/<file>`; packages are applied in the order given, files by number."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


CREATE = Command("""
    CREATE TABLE IF NOT EXISTS public.tallylight_migration (
        name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())
""")
LIST = Query(Applied, "SELECT name, sha256 FROM public.tallylight_migration ORDER BY name")
RECORD = Command("INSERT INTO public.tallylight_migration (name, sha256) VALUES ($1, $2)")
LOCK = Command("SELECT pg_advisory_lock($1)")
UNLOCK = Command("SELECT pg_advisory_unlock($1)")


def read(folders: Sequence[Path]) -> list[Migration]:
    """The migrations of each folder in order. Raises MigrationError for a file that is not `NNNN_name.sql`."""
    found: list[Migration] = []
    for folder in folders:
        for path in sorted(folder.glob("*.sql")):
            if not _NAME.match(path.name):
                raise MigrationError(f"{path.name}: a migration is named NNNN_name.sql")
            found.append(Migration(f"{folder.parent.name}/{path.name}", path.read_text(encoding="utf-8")))
    return found


async def migrate(conn: Conn, folders: Sequence[Path]) -> list[str]:
    """Applies what is missing, each file in its own transaction, under one advisory lock. Returns the names applied.

    Raises MigrationError when an applied file has changed or a file failed; earlier ones stay applied.
    """
    migrations = read(folders)
    await LOCK.run(conn, _LOCK)
    try:
        await CREATE.run(conn)
        applied = {row.name: row.sha256 for row in await LIST.all(conn)}
        unknown = sorted(set(applied) - {m.name for m in migrations})
        if unknown:
            raise MigrationError(f"the database is newer than this program: it has {', '.join(unknown)}")
        done: list[str] = []
        for migration in migrations:
            if migration.name not in applied:
                await _apply(conn, migration)
                done.append(migration.name)
            elif applied[migration.name] != migration.sha256:
                raise MigrationError(f"{migration.name} was changed after it was applied; write a new migration instead")
        return done
    finally:
        await UNLOCK.run(conn, _LOCK)


async def _apply(conn: Conn, migration: Migration) -> None:
    try:
        async with conn.transaction():
            await conn.execute(migration.sql)
            await RECORD.run(conn, migration.name, migration.sha256)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{migration.name}: {error}") from error
    log.info("migration_applied", name=migration.name)
