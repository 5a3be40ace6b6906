"""A TCP proxy that breaks connections at chosen moments: real clients and real servers on both sides of a bad network."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import msgspec

from gateway.settings import Secret

CHUNK = 1 << 16


async def _nothing(_: bytes) -> None:
    return


class Proxy:
    """Forwards bytes between clients and one server; made by `proxied`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._count = 0
        self.cuts = 0
        """How many connections were broken because of what a client had sent."""
        self.cut_when: Callable[[int, bytes], bool] = lambda _number, _data: False
        """Looks at what a client sends on which connection. True: it is forwarded, the server's answer is awaited and thrown away
        with the connection."""
        self.answer_instead: Callable[[bytes], bytes] = lambda _: b""
        """Looks at what a client sends. Not empty: the server never sees it, this is the answer, and the connection is closed."""
        self.heard: Callable[[bytes], Awaitable[None]] = _nothing
        """Told what a client sends, before it is forwarded."""
        self.change: Callable[[bytes], bytes] = lambda answer: answer
        """What becomes of a server's answer on its way."""
        self.refusing = False
        self.frozen = asyncio.Event()
        self._flows = asyncio.Event()
        self._flows.set()

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

    def freeze_before(self, statement: bytes) -> None:
        """Freezes when `statement` was sent, and does not forward it."""

        async def heard(data: bytes) -> None:
            if statement in data:
                self.heard = _nothing
                self.freeze()

        self.heard = heard

    def freeze(self) -> None:
        """Nothing passes any more in either direction; connections stay open, and new ones are accepted."""
        self._flows.clear()
        self.frozen.set()

    def thaw(self) -> None:
        """What was kept back passes, and so does everything after it."""
        self.frozen.clear()
        self._flows.set()

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
            await self._link(reader, writer)
        except (OSError, asyncio.CancelledError):  # the network failed, or `close` ends it
            return
        finally:
            self._links.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        cut = asyncio.Event()
        self._count += 1
        number = self._count

        async def up() -> None:
            while data := await reader.read(CHUNK):
                await self.heard(data)
                await self._flows.wait()
                if answer := self.answer_instead(data):
                    writer.write(answer)
                    await writer.drain()
                    writer.write_eof()
                    while await reader.read(CHUNK):  # closing with data unread would reset the connection and lose the answer
                        pass
                    return
                if not cut.is_set() and self.cut_when(number, data):
                    cut.set()
                server_writer.write(data)
                await server_writer.drain()

        async def down() -> None:
            while data := await server_reader.read(CHUNK):
                if cut.is_set():
                    self.cuts += 1
                    return
                changed = self.change(data)
                await self._flows.wait()
                writer.write(changed)
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


def commit_after(statement: bytes) -> Callable[[int, bytes], bool]:
    """True once, for the COMMIT of the first transaction in which `statement` was sent: asyncpg sends both in clear."""
    in_it: set[int] = set()
    found = False

    def is_it(number: int, data: bytes) -> bool:
        nonlocal found
        if statement in data:
            in_it.add(number)
        if found or number not in in_it or b"COMMIT;" not in data:
            return False
        found = True
        return True

    return is_it


class Way(msgspec.Struct, frozen=True):
    """A proxy before a database, and the DSN that leads through it."""

    proxy: Proxy
    dsn: Secret


@asynccontextmanager
async def way_to(dsn: str) -> AsyncGenerator[Way]:
    parts = urlsplit(dsn)
    async with proxied(parts.hostname or "", parts.port or 5432) as proxy:
        user = parts.netloc.rpartition("@")[0]
        yield Way(proxy, Secret(urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))))
