"""A warm process that forks the gateway's processes and runs PostgreSQL and Triton: a restart costs milliseconds, not imports.

    python -m tests.faults.zygote

Reads one JSON request a line on standard input and answers each with a line. It adopts and reaps orphans, and ends
everything it started when its input ends.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.clerk import clerk
from gateway.cli.server import make_app, run
from gateway.dispatch import dispatch
from gateway.settings import Settings
from gateway.telemetry import logs

_PR_SET_CHILD_SUBREAPER = 36
_KILLED_WITHIN_S = 10.0


def main() -> None:
    assert make_app is not None  # what the API's workers import, imported here
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    gc.freeze()
    living: set[int] = set()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        _reap(living)
        print(json.dumps(_perform(json.loads(line), living)), flush=True)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _perform(request: Mapping[str, Any], living: set[int]) -> dict[str, object]:
    match request:
        case {"start": what, "environment": environment, "log": log}:
            pid = os.fork()
            if pid == 0:
                _child(what, environment, log)
            living.add(pid)
            return {"pid": pid}
        case {"kill": pid, "group": group}:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, signal.SIGKILL)
            give_up = time.monotonic() + _KILLED_WITHIN_S
            while pid in living and time.monotonic() < give_up:
                _reap(living)
                time.sleep(0.001)
            return {"gone": pid not in living}
        case {"living": True}:
            return {"living": sorted(living)}
        case _:
            return {"error": f"unknown request {request}"}


def _reap(living: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            living.discard(pid)


def _child(what: str | list[str], environment: dict[str, str], log: str) -> None:
    """Never returns. `what` is a command line or one of our processes; each leads a session of its own."""
    status = 1
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if isinstance(what, list):
            os.chdir(Path(log).parent)
            os.execve(what[0], what, environment)  # noqa: S606 - started by a test, from a list
        os.environ.clear()
        os.environ.update(environment)
        settings = Settings.load({}, os.environ)
        if what == "api":
            run(settings)
        else:
            logs.configure(settings.log_level)
            asyncio.run(_until_told({"dispatch": dispatch, "clerk": clerk}[what], settings))
        status = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run the parent's loop a second time
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


async def _until_told(run: Callable[[Settings, asyncio.Event], Awaitable[None]], settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    main()
