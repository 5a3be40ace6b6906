"""Commands that work on the database itself."""

import getpass
from collections.abc import Awaitable, Callable
from typing import TypeVar

from billing.kit.pool import open_pool
from billing.kit.query import Conn
from gateway.audit.model import Actor
from gateway.settings import Settings

Result = TypeVar("Result")


async def in_database(settings: Settings, work: Callable[[Conn], Awaitable[Result]]) -> Result:
    """Runs `work` on a connection of its own, outside any transaction."""
    settings.require("dsn")
    timeout_ms = max(settings.statement_timeout_ms, 600_000)
    pool = await open_pool(settings.dsn.reveal(), name="tallylight-cli", size_min=1, size_max=1, statement_timeout_ms=timeout_ms)
    async with pool, pool.acquire() as conn:
        return await work(conn)


async def in_transaction(settings: Settings, work: Callable[[Conn], Awaitable[Result]]) -> Result:
    """Runs `work` in one transaction: all of it, or nothing."""

    async def whole(conn: Conn) -> Result:
        async with conn.transaction():
            return await work(conn)

    return await in_database(settings, whole)


async def in_snapshot(settings: Settings, work: Callable[[Conn], Awaitable[Result]]) -> Result:
    """Runs `work` on one unchanging view of the database."""

    async def whole(conn: Conn) -> Result:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            return await work(conn)

    return await in_database(settings, whole)


def operator() -> Actor:
    """Who acts at the command line: the user of the operating system."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "unknown"
    return Actor("operator", user, user)
