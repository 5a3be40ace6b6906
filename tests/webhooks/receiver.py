"""Receivers of webhooks on 127.0.0.2: what they were sent, and how they answer."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from tests.egress.servers import server


class Received(msgspec.Struct, frozen=True):
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


class Inbox:
    """What arrived, in order; `next` waits for it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Received] = []
        self._arrived: asyncio.Queue[Received] = asyncio.Queue()

    def put(self, one: Received) -> None:
        self.seen.append(one)
        self._arrived.put_nowait(one)

    async def next(self) -> Received:
        async with asyncio.timeout(20):
            return await self._arrived.get()


def saying(status: str, headers: str = "", body: bytes = b"") -> Answer:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()

    return answer


@asynccontextmanager
async def inbox(answer: Answer | None = None) -> AsyncGenerator[Inbox]:
    """`answer` says what comes back; 204 where it is not given."""
    box = Inbox("")
    answers = answer or saying("204 No Content")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert head.startswith("POST ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        received = Received(headers, await reader.readexactly(int(headers["content-length"])))
        box.put(received)
        await answers(received, writer)

    async with server(talk) as port:
        box.url = f"http://127.0.0.2:{port}/hook"
        yield box
