"""SQL that is visible, typed and checked: one constant per statement.

`tests/tidy` PREPAREs every registered statement against the migrated schema and compares its columns
with the fields of the row struct, so a constant that would fail at run time fails in the suite.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, LiteralString, TypeAlias, TypeVar

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

Row = TypeVar("Row", bound=msgspec.Struct)
Record: TypeAlias = asyncpg.Record
Conn: TypeAlias = "asyncpg.Connection[Record] | PoolConnectionProxy[Record]"
Pool: TypeAlias = "asyncpg.Pool[Record]"


class NoRow(LookupError):
    """A statement that must return one row returned none."""


class Query(Generic[Row]):
    """A statement and the struct its rows become. Column order must be field order."""

    registry: ClassVar[list["Query[Any]"]] = []

    def __init__(self, row: type[Row], sql: LiteralString) -> None:
        self.row, self.sql = row, sql
        self.registry.append(self)

    async def all(self, conn: Conn, *args: object) -> list[Row]:
        row = self.row
        return [row(*record) for record in await conn.fetch(self.sql, *args)]

    async def maybe(self, conn: Conn, *args: object) -> Row | None:
        record = await conn.fetchrow(self.sql, *args)
        return None if record is None else self.row(*record)

    async def one(self, conn: Conn, *args: object) -> Row:
        """Raises NoRow."""
        found = await self.maybe(conn, *args)
        if found is None:
            raise NoRow(self.sql)
        return found


class Command:
    """A statement whose rows nobody reads."""

    registry: ClassVar[list["Command"]] = []

    def __init__(self, sql: LiteralString) -> None:
        self.sql = sql
        self.registry.append(self)

    async def run(self, conn: Conn, *args: object) -> int:
        """Returns the number of rows touched, 0 for statements that touch none."""
        tail = (await conn.execute(self.sql, *args)).rsplit(" ", 1)[-1]
        return int(tail) if tail.isdigit() else 0

    async def each(self, conn: Conn, rows: Iterable[tuple[object, ...]]) -> None:
        await conn.executemany(self.sql, rows)
