"""A connection that dies at a statement, before or after the server has done it."""

from collections.abc import Awaitable, Callable
from typing import Any

from billing.kit.query import Conn


class Cut(Exception):
    """The process is gone; its transaction is rolled back."""


class CutConn:
    """Hands everything on until statement number `at` (from 1; 0: never). `count` is how many there were."""

    def __init__(self, conn: Conn, at: int = 0, *, after: bool = False) -> None:
        self._conn, self._at, self._after, self.count = conn, at, after, 0

    async def _do(self, work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        self.count += 1
        if self.count == self._at and not self._after:
            raise Cut
        found = await work(*args)
        if self.count == self._at:
            raise Cut
        return found

    async def fetch(self, *args: Any) -> Any:
        return await self._do(self._conn.fetch, *args)

    async def fetchrow(self, *args: Any) -> Any:
        return await self._do(self._conn.fetchrow, *args)

    async def fetchval(self, *args: Any) -> Any:
        return await self._do(self._conn.fetchval, *args)

    async def execute(self, *args: Any) -> Any:
        return await self._do(self._conn.execute, *args)

    async def executemany(self, *args: Any) -> Any:
        return await self._do(self._conn.executemany, *args)
