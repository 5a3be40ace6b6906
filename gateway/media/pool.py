"""Warm decoder processes, at most `size` files at a time. A file that crashes, hangs or starves its confined child is
refused; the next file gets a sound one. A process that dies by another hand costs no file: the task is done again, once.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import structlog

import gateway
from gateway.media.errors import DecoderUnavailable
from gateway.media.tasks import CANNOT_CONFINE, HEADER_BYTES, MESSAGE_BYTES_MAX, Outcome, Refused, Reply, Task, framed

log = structlog.get_logger(__name__)

_START_S_MAX = 30.0
_TRIES = 2
_outcomes = msgspec.msgpack.Decoder(Outcome)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class DecoderPool:
    """`async with DecoderPool(size=2) as decoders: ...` starts `size` processes and ends them.

    Each file gets at most `memory_bytes` of address space, `cpu_s` of processor time and `wall_s` of real time.
    """

    def __init__(self, size: int = 2, *, memory_bytes: int = 1 << 30, cpu_s: int = 60, wall_s: float = 90.0) -> None:
        self._size = size
        self._wall_s = wall_s
        self._command = (sys.executable, "-s", "-m", "gateway.media.decoder", str(memory_bytes), str(cpu_s))
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Decoder] = []

    async def __aenter__(self) -> Self:
        """Start every process. Raises DecoderUnavailable."""
        try:
            for _ in range(self._size):
                self._idle.append(await _Decoder.start(self._command))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """End the idle processes; those at work end with their task."""
        while self._idle:
            await self._idle.pop().kill()

    async def run(self, task: Task) -> Reply:
        """Do one task. Returns Refused where the file is at fault, also if its decoder died or ran out of time.

        Raises DecoderUnavailable if no process can be started or confined. Cancelling kills the decoder.
        """
        body = msgspec.msgpack.encode(task)
        async with self._slots:
            for _ in range(_TRIES):
                decoder = self._idle.pop() if self._idle else await _Decoder.start(self._command)
                try:
                    async with asyncio.timeout(self._wall_s):
                        outcome = await decoder.perform(body)
                except (asyncio.IncompleteReadError, ConnectionError):
                    # This process never reads a file, and no confined child can end it: the file is not at fault.
                    await decoder.kill()
                    log.warning("decoder_process_died", task=type(task).__name__)
                except TimeoutError:
                    await decoder.kill()
                    log.warning("decoder_timed_out", task=type(task).__name__, wall_s=self._wall_s)
                    return Refused("decoder_timeout", f"the file did not decode within {self._wall_s:g} s")
                except BaseException:
                    await decoder.kill()
                    raise
                else:
                    self._idle.append(decoder)
                    return _reply(task, outcome)
        raise DecoderUnavailable(f"decoder processes keep dying, {_TRIES} in a row; look for the kernel's out-of-memory killer")


def _reply(task: Task, outcome: Outcome) -> Reply:
    fields = {"task": type(task).__name__, "peak_bytes": outcome.peak_bytes, "cpu_ms": outcome.cpu_ms}
    if outcome.status == CANNOT_CONFINE:
        raise DecoderUnavailable("the kernel refuses the limits a decoder needs; allow prctl and setrlimit for this process")
    if outcome.status == 0:
        log.debug("decoded", **fields)
        return _replies.decode(outcome.reply)
    log.warning("decoder_crashed", status=outcome.status, **fields)
    if outcome.status == -signal.SIGXCPU:
        return Refused("decoder_timeout", "the file takes too much processor time to decode")
    return Refused("decoder_crashed", f"the decoder ended with status {outcome.status} on this file")


class _Decoder:
    """One process of gateway.media.decoder and the pipes to it, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader) -> None:
        self._process = process
        self._stdin = stdin
        self._stdout = stdout

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> "_Decoder":
        """Start a process and wait until it is warm. It inherits no environment: no secret is in its memory."""
        root = Path(gateway.__file__).parent.parent
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise DecoderUnavailable(f"no decoder process could be started: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        decoder = cls(process, process.stdin, process.stdout)
        try:
            async with asyncio.timeout(_START_S_MAX):
                await decoder._read_frame()
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            await decoder.kill()
            raise DecoderUnavailable(f"the decoder process ended before it was warm ({process.returncode})") from error
        except BaseException:
            await decoder.kill()
            raise
        return decoder

    async def perform(self, body: bytes) -> Outcome:
        self._stdin.write(framed(body))
        await self._stdin.drain()
        return _outcomes.decode(await self._read_frame())

    async def _read_frame(self) -> bytes:
        size_bytes = int.from_bytes(await self._stdout.readexactly(HEADER_BYTES), "big")
        if size_bytes > MESSAGE_BYTES_MAX:
            raise ConnectionError(f"a frame of {size_bytes} bytes")
        return await self._stdout.readexactly(size_bytes)

    async def kill(self) -> None:
        """Kill the process and the child that may be decoding in it."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                log.debug("decoder_already_gone", pid=self._process.pid)
        self._stdin.close()
        await self._process.wait()
