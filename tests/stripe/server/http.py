"""HTTP/1.1 over asyncio streams: what Stripe's SDK, httpx and a browser send, and the ways in which a connection breaks.

A framework would hide the socket, and cutting an answer short is half of what this server is for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Literal, TypeAlias

import msgspec

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 4 * 1024 * 1024

Fate: TypeAlias = Literal["whole", "cut", "reset"]


class Request(msgspec.Struct, frozen=True):
    """Header names are lower case; `query` is undecoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """`fate` says how much of it reaches the client: all, half with the connection then closed, or nothing but a reset."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    fate: Fate = "whole"


Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]


class HttpServer:
    """Listens on one TCP port and asks `handle` for every answer."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES_MAX)

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            while (request := await _read(reader)) and await _write(writer, await self._handle(request)):
                pass
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            return  # the client went away or speaks no HTTP, or `close` ends it
        finally:
            self._links.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, or None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _version = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = int(headers.get("content-length", "0"))
    if size > BODY_BYTES_MAX or "transfer-encoding" in headers:
        raise ValueError("a body of known and modest size is all that is read")
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, await reader.readexactly(size))


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Whether the connection may be used again."""
    if answer.fate == "reset":
        writer.transport.abort()
        return False
    headers = {"content-type": "application/json", **answer.headers, "content-length": str(len(answer.body))}
    head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    body = answer.body if answer.fate == "whole" else answer.body[: len(answer.body) // 2]
    writer.write(head.encode("latin-1") + body)
    await writer.drain()
    return answer.fate == "whole"
