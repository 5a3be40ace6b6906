"""A TCP proxy that breaks connections at chosen moments: real clients and real servers on both sides of a bad network."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

CHUNK = 1 << 16


class Proxy:
    """Forwards bytes between clients and one server; made by `proxied`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0
        """How many connections were broken because of what a client had sent."""
        self.cut_when: Callable[[bytes], bool] = lambda _: False
        """Looks at what a client sends. True: it is forwarded, the server's answer is awaited and thrown away with the connection."""
        self.refusing = False

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def cut_all(self) -> None:
        """Resets every connection there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            with contextlib.suppress(ConnectionError):
                await self._link(reader, writer)
        except OSError:
            return
        finally:
            self._links.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        cut = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(CHUNK):
                if not cut.is_set() and self.cut_when(data):
                    cut.set()
                server_writer.write(data)
                await server_writer.drain()

        async def down() -> None:
            while data := await server_reader.read(CHUNK):
                if cut.is_set():
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()

        directions = [asyncio.create_task(up()), asyncio.create_task(down())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            server_writer.transport.abort()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncGenerator[Proxy]:
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


def commits(count: int) -> Callable[[bytes], bool]:
    """True for the next `count` COMMITs. asyncpg sends a transaction's end as a simple query, in clear."""
    left = count

    def next_commit(data: bytes) -> bool:
        nonlocal left
        if left and b"COMMIT;" in data:
            left -= 1
            return True
        return False

    return next_commit
