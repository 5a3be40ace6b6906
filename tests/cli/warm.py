"""Runs commands as processes of their own, forked from one that has imported what commands import: each then starts at once.

A new interpreter takes most of a second to import it all, and the tests of the commands start hundreds.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
COMMAND_S = 60


class Warm:
    """`run` is called by one thread at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.warm"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._turn = threading.Lock()

    def run(self, argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        assert self._server.stdin is not None and self._server.stdout is not None
        with self._turn:
            self._server.stdin.write(json.dumps([argv, environment]) + "\n")
            self._server.stdin.flush()
            status, out, err = json.loads(self._server.stdout.readline())
        return subprocess.CompletedProcess(argv, status, out, err)

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(COMMAND_S)
        self._server.stdout.close()


def serve() -> None:
    from gateway import cli

    for module in pkgutil.iter_modules(cli.__path__, "gateway.cli."):
        importlib.import_module(module.name)
    for name in ("asyncpg", "httpx", "rich.console", "rich.table"):
        importlib.import_module(name)
    assert threading.active_count() == 1, "a thread does not survive a fork"
    gc.freeze()  # what was imported is not looked at again, so children go on sharing it
    for line in sys.stdin:
        argv, environment = json.loads(line)
        with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as err:
            status = fork(argv, environment, out, err)
            print(json.dumps([status, text_of(out), text_of(err)]), flush=True)


def fork(argv: list[str], environment: dict[str, str], out: IO[bytes], err: IO[bytes]) -> int:
    """The exit status of the command, whose output is in `out` and `err`; it is killed after COMMAND_S."""
    child = os.fork()
    if not child:
        become(argv, environment, out, err)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(COMMAND_S)
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    return os.waitstatus_to_exitcode(status)


def become(argv: list[str], environment: dict[str, str], out: IO[bytes], err: IO[bytes]) -> Any:
    """Never returns."""
    status: Any = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for theirs, ours in ((nothing, 0), (out.fileno(), 1), (err.fileno(), 2)):
            os.dup2(theirs, ours)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["tallylight", *argv]
        from gateway.cli import tallylight

        tallylight(prog_name="python -m gateway")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 – the interpreter would print any
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    serve()
