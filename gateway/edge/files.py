"""Files that are made while they are sent."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from litestar.response import Stream

from gateway.errors import Unavailable

AT_ONCE = 2
"""How many files a process sends at a time: each keeps a database connection as long as its reader takes."""
_PARTS_WAITING = 16

_sending = asyncio.Semaphore(AT_ONCE)

Write = Callable[[bytes], Awaitable[None]]


async def send_file(name: str, media_type: str, produce: Callable[[Write], Awaitable[None]]) -> Stream:
    """Streams what `produce` writes; what it raises before the first byte is raised here. Raises Unavailable."""
    if _sending.locked():
        raise Unavailable("too many files are being sent now", retry_after_s=5)
    parts = _parts(produce)
    first = await anext(parts, b"")
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Stream(_begun(first, parts), media_type=media_type, headers=headers)


async def _begun(first: bytes, parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for part in parts:
            yield part
    finally:
        await parts.aclose()


async def _parts(produce: Callable[[Write], Awaitable[None]]) -> AsyncGenerator[bytes]:
    waiting: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_PARTS_WAITING)

    async def make() -> None:
        try:
            await produce(waiting.put)
        except Exception as error:  # noqa: BLE001 – handed to whoever reads
            await waiting.put(error)
        else:
            await waiting.put(None)

    async with _sending:
        making = asyncio.create_task(make())
        try:
            while (part := await waiting.get()) is not None:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            making.cancel()
            with suppress(asyncio.CancelledError):
                await making
