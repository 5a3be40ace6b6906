"""Runs a program that ends with the process that started it, however that one ended: `tether.py SIGNAL PARENT PROGRAM ARGUMENT…`.

It runs as a file in an isolated interpreter (`python -I -S`), imports nothing of ours and is replaced by PROGRAM under the same
process id. It must come after a change of user (`setpriv … tether.py … postgres`): the kernel forgets the wish when a process
changes its user.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tethered(argv: Sequence[str], orphan_signal: signal.Signals) -> list[str]:
    """The command line that runs `argv` and sends it `orphan_signal` when this process ends.

    Start it from the main thread: the kernel watches the thread that forked.
    """
    return [sys.executable, "-I", "-S", __file__, str(int(orphan_signal)), str(os.getpid()), *argv]


def end_with_parent(orphan_signal: int, parent: int) -> None:
    """Have the kernel send this process `orphan_signal` when `parent` ends; when it already has, end now.

    Where the kernel is not Linux, nothing is asked of it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(orphan_signal), *[ctypes.c_ulong(0)] * 3)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    orphan_signal, parent, *argv = sys.argv[1:]
    end_with_parent(int(orphan_signal), int(parent))
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - a shell is what this is not
    except OSError as error:
        sys.exit(f"{argv[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
