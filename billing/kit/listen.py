"""LISTEN with reconnection. A notification is a hint to look, never the news itself."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import asyncpg
import structlog

from billing.kit.query import Record

log = structlog.get_logger(__name__)


class Listener:
    """One connection that listens to channels and calls their callback with the payload.

    After every (re)connection each callback is called with an empty payload: whatever was said meanwhile is lost, so
    look at everything.
    """

    def __init__(self, dsn: str, channels: Mapping[str, Callable[[str], None]], *, retry_s: float = 1.0) -> None:
        self._dsn, self._channels, self._retry_s = dsn, channels, retry_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="listen")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("listener_lost", error=type(error).__name__)
            await asyncio.sleep(self._retry_s)

    async def _listen(self) -> None:
        lost = asyncio.Event()
        conn: asyncpg.Connection[Record] = await asyncpg.connect(self._dsn, timeout=10, command_timeout=10)
        try:
            conn.add_termination_listener(lambda _: lost.set())
            for channel, callback in self._channels.items():
                await conn.add_listener(channel, lambda _c, _p, _n, payload, call=callback: call(str(payload)))
            for callback in self._channels.values():
                callback("")
            while not lost.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), timeout=15)
                await conn.execute("SELECT 1")
        finally:
            conn.terminate()


class Wake:
    """Many waiters, one hint. Read `rung` before looking and pass it to `wait`, so that a ring in between is not missed."""

    def __init__(self) -> None:
        self.rung = 0
        self._event = asyncio.Event()

    def ring(self, _payload: str = "") -> None:
        self.rung += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> bool:
        """Returns True at the first ring after `seen`, at once if that was before; False after `timeout_s`."""
        if self.rung != seen:
            return True
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._event.wait(), timeout_s)
        return False
