"""A database that is as it was before: whole histories are lived through in one transaction, which is then undone."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from billing.kit.query import Conn, Pool
from tests.billing.simulator.cut import Cut, CutConn


class _Cut(CutConn):
    """A connection that dies at a statement, also inside the transactions that are opened on it, or after a commit."""

    def __init__(self, conn: Conn, at: int = 0, commit: int = 0) -> None:
        super().__init__(conn, at)
        self._commit, self._depth, self.commits = commit, 0, 0

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncGenerator[None]:
        """A part of the whole. What acts for a tenant does so until its own transaction ends."""
        self._depth += 1
        try:
            async with self._conn.transaction(**options):
                yield
        finally:
            self._depth -= 1
        await self._conn.execute("RESET ROLE")
        if self._depth == 0:
            self.commits += 1
            if self.commits == self._commit:
                raise Cut


class Rewound:
    """In place of a pool: every connection of it is the same one, and its transactions are parts of one that is undone.

    `cut.count` is how many statements there were, `cut.commits` how many transactions.
    """

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self.cut: _Cut = _Cut(conn)

    def dies(self, *, at: int = 0, commit: int = 0) -> None:
        """Before its nth statement, or after its nth commit."""
        self.cut = _Cut(self._conn, at, commit)

    @property
    def pool(self) -> Pool:
        return self  # pyright: ignore[reportReturnType] it has all that a desk uses of one

    @asynccontextmanager
    async def acquire(self, *, timeout: float = 0) -> AsyncGenerator[_Cut]:
        del timeout
        try:
            yield self.cut
        finally:
            await self._conn.execute("SET LOCAL ROLE NONE")  # the end of a part does not end what was set for the whole


@asynccontextmanager
async def rewound(conn: Conn) -> AsyncGenerator[Rewound]:
    whole = conn.transaction()
    await whole.start()
    try:
        yield Rewound(conn)
    finally:
        await whole.rollback()
