"""The load: one process, many keep-alive connections, one request at a time on each.

`python -m tests.bench.client` reads a Plan from standard input, writes the line `measuring` when the warm-up is over and a
Load as JSON when the time is. It writes requests that were encoded before and looks at nothing but status and length, so
that it takes little from the cores it shares with the servers; what it takes, it reports.
"""

import asyncio
import sys
from array import array
from collections import Counter
from itertools import cycle
from time import perf_counter, process_time
from typing import cast

import msgspec
import uvloop


class Plan(msgspec.Struct, frozen=True):
    """`requests` are whole HTTP/1.1 requests; the connections take them in turn."""

    host: str
    port: int
    connections: int
    warmup_s: float
    seconds: float
    requests: list[bytes]


class Load(msgspec.Struct, frozen=True):
    """What was answered while measuring."""

    answers: int
    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    cpu_s: float
    failure: str = ""
    """The first answer that was no 2xx."""


class _Tally:
    """What all connections share."""

    def __init__(self, requests: list[bytes]) -> None:
        self.next = cycle(requests).__next__
        self.statuses: Counter[str] = Counter()
        self.took_s = array("d")
        self.failure = ""
        self.stopped = False

    def reset(self) -> None:
        self.statuses.clear()
        self.took_s = array("d")


class _Connection(asyncio.Protocol):
    """Sends a request, waits for its whole answer, sends the next."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._end = 0
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class, no subclass of it
        self._send()

    def _send(self) -> None:
        self._sent_at = perf_counter()
        self._transport.write(self._tally.next())

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._end:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            start = self._buffer.index(b"content-length: ") + 16
            self._end = head_end + 4 + int(self._buffer[start : self._buffer.index(b"\r", start)])
        if len(self._buffer) >= self._end:
            self._answered()

    def _answered(self) -> None:
        tally = self._tally
        tally.took_s.append(perf_counter() - self._sent_at)
        status = self._buffer[9:12]
        tally.statuses[status.decode()] += 1
        if status[:1] != b"2" and not tally.failure:
            tally.failure = self._buffer[:1000].decode("latin-1")
        self._buffer, self._end = b"", 0
        if not tally.stopped:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._tally.stopped and not self._tally.failure:
            self._tally.failure = f"the connection was closed: {exc}"


async def load(plan: Plan) -> Load:
    loop, tally = asyncio.get_running_loop(), _Tally(plan.requests)
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(tally), plan.host, plan.port)
    await asyncio.sleep(plan.warmup_s)
    tally.reset()
    sys.stdout.write("measuring\n")
    sys.stdout.flush()
    started, cpu_s = perf_counter(), process_time()
    await asyncio.sleep(plan.seconds)
    took, cpu_s = perf_counter() - started, process_time() - cpu_s
    tally.stopped = True
    times = sorted(tally.took_s) or [0.0]
    return Load(
        answers=len(tally.took_s),
        seconds=took,
        statuses=dict(tally.statuses),
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        cpu_s=cpu_s,
        failure=tally.failure,
    )


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.write(msgspec.json.encode(uvloop.run(load(plan))).decode() + "\n")


if __name__ == "__main__":
    main()
