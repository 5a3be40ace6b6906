"""Keep the processes of one machine running: start them in order, restart what ends, stop all of it again.

Each process leads a session of its own, so a Ctrl-C at the terminal reaches only `up`, and what a process leaves behind when it
dies is found in its group. Each is tethered (`tether.py`): it ends with `up`, also when that is killed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from gateway.local.errors import LocalUnavailable
from gateway.local.tether import tethered

LOG_BYTES_MAX = 8 << 20
"""A log that has grown past this becomes `<name>.log.1`, the last one before it is forgotten."""
LOG_LOOK_S = 5.0
SWEEP_S = 3.0


class Launch(msgspec.Struct, frozen=True):
    """What to run. `become` is put before everything else and changes the user."""

    argv: list[str]
    environment: Mapping[str, str]
    folder: Path
    become: Sequence[str] = ()


async def _at_once(_pid: int) -> None:
    return


async def _never(_pid: int) -> str:
    await asyncio.Event().wait()
    return ""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One process to keep running."""

    name: str
    title: str
    """How it is called in a sentence."""
    command: Callable[[], Awaitable[Launch]]
    """Asked before every start. LocalUnavailable at the first start ends everything: it would not get better."""
    ready: Callable[[int], Awaitable[None]] = _at_once
    """Given the process id, returns once the process may be used."""
    broken: Callable[[int], Awaitable[str]] = _never
    """Given the process id of a ready process, returns why it must be started anew though it still runs."""
    ended: Callable[[], None] = lambda: None
    """Tidies up after it, however it ended."""
    needs: tuple[str, ...] = ()
    """Roles that must be ready whenever it is started."""
    ready_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s: float = 3.0
    """How long it may take to stop before it is killed; longer where those stopped before it left some of theirs."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What it is sent when `up` itself has ended."""


class Patience(msgspec.Struct, frozen=True):
    """When to start again and when to give up."""

    backoff_s: float = 0.2
    backoff_max_s: float = 5.0
    healthy_s: float = 3.0
    """A process that was ready for this long has not failed fast."""
    first_failures_max: int = 3
    """Fast failures in a row before it was ever ready, and afterwards."""
    failures_max: int = 12

    def delay_s(self, failures: int) -> float:
        return min(self.backoff_s * 2.0 ** (failures - 1), self.backoff_max_s)


class GaveUp(Exception):
    """A process cannot be kept running; the sentence names its log and quotes its last line."""


class Life(msgspec.Struct, frozen=True):
    """One run of a process: how long it was ready, and why it ended."""

    ready_s: float
    end: str


class Supervisor:
    """Runs roles until `stop`. `changed` is called when a process became ready, `told` with a sentence when one ended."""

    def __init__(
        self,
        logs: Path,
        *,
        changed: Callable[[], None] = lambda: None,
        told: Callable[[str], None] = lambda _sentence: None,
        patience: Patience | None = None,
    ) -> None:
        self._logs, self._changed, self._told, self._patience = logs, changed, told, patience or Patience()
        self._waves: list[list[Keeper]] = []
        self._keepers: dict[str, Keeper] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rotation = asyncio.create_task(self._rotate())

    def start(self, *roles: Role) -> None:
        """Starts roles that are later stopped together, before those started earlier. Call it on the main thread."""
        wave: list[Keeper] = []
        for role in roles:
            needs = [self._keepers[name] for name in role.needs]
            log = self._logs / f"{role.name}.log"
            keeper = Keeper(role, log, needs, self._patience, changed=self._changed, told=self._told)
            keeper.task.add_done_callback(self._end_all)
            self._keepers[role.name] = keeper
            wave.append(keeper)
        self._waves.append(wave)

    async def ready(self, *names: str) -> None:
        """Returns once each of these has been ready. Raises what `failure` raises."""
        waiting = [self._keepers[name].is_ready.wait() for name in names]
        await first_of(self.failure(), asyncio.gather(*waiting))

    async def failure(self) -> None:
        """Never returns. Raises GaveUp or LocalUnavailable as soon as a role cannot be kept running."""
        await asyncio.shield(self._failed)

    def pids(self) -> dict[str, int]:
        """The process id of each role that is ready."""
        return {name: keeper.pid for name, keeper in self._keepers.items() if keeper.is_ready.is_set()}

    async def stop(self) -> None:
        """Stops everything, the last started first, each by its own signal, and kills what does not stop in time.

        What one does not need of its time those behind it have: PostgreSQL, which is the last, may have much to write.
        """
        self._rotation.cancel()
        until = monotonic()
        for wave in reversed(self._waves):
            until += max(keeper.role.stop_s for keeper in wave)
            for keeper in wave:
                keeper.stop_until = until
                keeper.task.cancel()
            await asyncio.gather(*[keeper.task for keeper in wave], return_exceptions=True)
        if not self._failed.cancel() and not self._failed.cancelled():
            self._failed.exception()  # it was told, or the stop came first

    def _end_all(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(LOG_LOOK_S)
            for name in self._keepers:
                with contextlib.suppress(OSError):  # a log is not worth the end of what it is about
                    rotate(self._logs / f"{name}.log")


class Keeper:
    """Keeps one role running."""

    def __init__(
        self,
        role: Role,
        log: Path,
        needs: Sequence["Keeper"],
        patience: Patience,
        *,
        changed: Callable[[], None],
        told: Callable[[str], None],
    ) -> None:
        self.role, self.pid, self.is_ready, self.stop_until = role, 0, asyncio.Event(), 0.0
        self._log, self._needs, self._patience, self._changed, self._told = log, needs, patience, changed, told
        self._was_ready = False
        self.task = asyncio.create_task(self._run(), name=role.name)

    async def _run(self) -> None:
        failures = 0
        while True:
            for needed in self._needs:
                await needed.is_ready.wait()
            life = await self._life()
            failures = 1 if life.ready_s >= self._patience.healthy_s else failures + 1
            limit = self._patience.failures_max if self._was_ready else self._patience.first_failures_max
            if failures >= limit:
                raise GaveUp(f"{self.role.title} {life.end}, {failures} times in a row; {self._last_words()}")
            self._told(f"{self.role.title} {life.end}; starting it again")
            await asyncio.sleep(self._patience.delay_s(failures))

    async def _life(self) -> Life:
        role = self.role
        try:
            process = await self._spawn(await role.command())
        except (LocalUnavailable, OSError) as error:
            if not self._was_ready:
                raise LocalUnavailable(str(error)) from error
            return Life(0.0, f"could not be started ({error})")
        ready_at = None
        self.pid = process.pid
        try:
            async with asyncio.timeout(role.ready_s):
                early = await first_of(process.wait(), role.ready(process.pid))
            if early is None:
                ready_at, self._was_ready = monotonic(), True
                self.is_ready.set()
                self._changed()
                reason = await first_of(process.wait(), role.broken(process.pid))
                if isinstance(reason, str):
                    return Life(monotonic() - ready_at, reason)
            return Life(monotonic() - (ready_at or monotonic()), _ending(await process.wait()))
        except TimeoutError:
            return Life(0.0, f"was not ready after {role.ready_s:g} s")
        except LocalUnavailable as error:
            return Life(0.0, f"did not become ready ({error})")
        finally:
            self.is_ready.clear()
            await self._end(process)
            role.ended()

    async def _spawn(self, command: Launch) -> asyncio.subprocess.Process:
        rotate(self._log)
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command.become,
                *tethered(command.argv, self.role.orphan_signal),
                cwd=command.folder,
                env=command.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Ends the process by its own signal, then whatever is left of its group."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.role.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), max(self.role.stop_s, self.stop_until - monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_S):
                while _alive_in_group(process.pid):  # noqa: ASYNC110 - no events come from there
                    await asyncio.sleep(0.01)
        await process.wait()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
            if lines:
                return f"the last line of {self._log} is: {lines[-1].strip()}"
        return f"its log {self._log} is empty"


def rotate(log: Path) -> None:
    """The writer appends and keeps the file open, so a long log is copied and then emptied."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


async def first_of(*awaitables: Awaitable[Any]) -> Any:  # noqa: ANN401 - the type of whichever comes first
    """The result, or the error, of whichever comes first; the others are cancelled."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _alive_in_group(group: int) -> bool:
    """Whether some process of the group still runs; the dead that nobody has collected do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _parent, of_group = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                return True
    return False


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with status {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"
