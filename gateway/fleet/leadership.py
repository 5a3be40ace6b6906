"""Leadership: one process leads per cell, by an advisory lock on a connection of its own; others stand by."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from billing.kit.listen import Wake
from billing.kit.query import Record
from gateway.settings import Settings

log = structlog.get_logger(__name__)

_LOCK = 7_281_330_115


@asynccontextmanager
async def leadership(settings: Settings, wake: Wake) -> AsyncGenerator[asyncio.Event]:
    """Waits for the cell's lock; the event is set, and `wake` rung, when that connection, and the lock, is lost.

    The server ends the connection when it says nothing for as long as a lease lasts (docs/decisions/0032).
    """
    lost = asyncio.Event()

    def ring(_: object) -> None:
        lost.set()
        wake.ring()

    session = {"application_name": "tallylight-lead", "idle_session_timeout": str(round(settings.lease_ttl_s * 1000))}
    conn: asyncpg.Connection[Record] = await asyncpg.connect(settings.dsn.reveal(), timeout=10, server_settings=session)
    conn.add_termination_listener(ring)
    try:
        while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK, timeout=10):
            await wake.wait(wake.rung, settings.poll_s)
        staying = asyncio.create_task(_stay(conn, settings))
        try:
            yield lost
        finally:
            staying.cancel()
    finally:
        conn.terminate()


async def _stay(conn: "asyncpg.Connection[Record]", settings: Settings) -> None:
    """Keeps the leader's connection from falling silent; one that does not answer is given up."""
    try:
        while True:
            await asyncio.sleep(settings.heartbeat_s)
            await conn.execute("SELECT 1", timeout=settings.lease_ttl_s)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        log.warning("leader_unheard", error=type(error).__name__)
        conn.terminate()
