"""Servers on loopback: one that notes every connection, and one that answers as told."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Tripwire:
    """Listens where nobody may come. `hits` counts connections."""

    def __init__(self) -> None:
        self.hits = 0
        self.port = 0

    async def _met(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["Tripwire"]:
        first = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port = first.sockets[0].getsockname()[1]
        others = [await asyncio.start_server(self._met, host, self.port) for host in ("127.1.2.3", "::1")]
        try:
            yield self
        finally:
            for server in (first, *others):
                server.close()


@asynccontextmanager
async def server(talk: Talk, host: str = "127.0.0.2", port: int = 0, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Its port. Each connection is one `talk`, which is cut off when the block ends."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking = asyncio.ensure_future(talk(reader, writer))
        talks.add(talking)
        try:
            await asyncio.wait({talking})
            if not talking.cancelled() and not isinstance(talking.exception(), ConnectionError | asyncio.IncompleteReadError):
                talking.result()  # but the client may have had enough
        finally:
            talks.discard(talking)
            writer.close()

    running = await asyncio.start_server(serve, host, port, ssl=tls)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        for talking in talks:
            talking.cancel()
        while talks:
            await asyncio.sleep(0)


def answering(body: bytes, status: str = "200 OK", headers: str = "", *, seen: list[bytes] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return talk
