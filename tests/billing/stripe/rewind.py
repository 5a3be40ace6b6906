"""A database that is as it was before: whole histories are lived through in one transaction, which is then undone."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from billing.kit.query import Conn, Pool
from tests.billing.simulator.cut import CutConn


class _Cut(CutConn):
    """A connection that dies at a statement, also inside the transactions that are opened on it."""

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncGenerator[None]:
        """A part of the whole. What acts for a tenant does so until its own transaction ends."""
        async with self._conn.transaction(**options):
            yield
        await self._conn.execute("RESET ROLE")


class Rewound:
    """In place of a pool: every connection of it is the same one, and its transactions are parts of one that is undone.

    `at` and `after` say at which statement it dies; `count` is how many there were.
    """

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self.cut: _Cut = _Cut(conn)

    def dies(self, at: int, *, after: bool) -> None:
        self.cut = _Cut(self._conn, at, after=after)

    @property
    def pool(self) -> Pool:
        return self  # pyright: ignore[reportReturnType] it has all that a desk uses of one

    @asynccontextmanager
    async def acquire(self, *, timeout: float = 0) -> AsyncGenerator[_Cut]:
        del timeout
        yield self.cut


@asynccontextmanager
async def rewound(conn: Conn) -> AsyncGenerator[Rewound]:
    whole = conn.transaction()
    await whole.start()
    try:
        yield Rewound(conn)
    finally:
        await whole.rollback()
