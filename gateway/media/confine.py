"""Take from this process what decoding does not need: memory, time, file writes, the network, other processes.

Linux only does all of it. Elsewhere the resource limits alone apply.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

_OPEN_FILES_MAX = 32

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38  # linux/prctl.h
_SECCOMP_MODE_FILTER = 2  # linux/seccomp.h
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # 1 is EPERM
_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_X32_BIT = 0x40000000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Numbers from asm/unistd_64.h and asm-generic/unistd.h. Refused: sockets, new processes and programs, other
# processes' memory, changes to the file tree, and kernel interfaces with a history of escapes.
_SAME_EVERYWHERE = (425, 434, 435, 437)  # io_uring_setup pidfd_open clone3 openat2
# Each machine: its AUDIT_ARCH; the calls that open files, each with the position of its flags; the refused calls.
_MACHINES: dict[str, tuple[int, tuple[tuple[int, int], ...], tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E,
        ((2, 1), (257, 2)),  # open openat
        # socket connect accept sendto bind listen socketpair clone fork vfork execve kill truncate ftruncate
        # rename mkdir rmdir creat link unlink symlink chmod fchmod chown fchown ptrace mknod mount
        (
            *(41, 42, 43, 44, 49, 50, 53, 56, 57, 58, 59, 62, 76, 77),
            *(82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 101, 133, 165),
            # tkill mkdirat mknodat fchownat unlinkat renameat linkat symlinkat fchmodat unshare perf_event_open setns
            # process_vm_readv process_vm_writev renameat2 bpf execveat userfaultfd
            *(200, 258, 259, 260, 263, 264, 265, 266, 268, 272, 298, 308, 310, 311, 316, 321, 322, 323),
        ),
    ),
    "aarch64": (
        0xC00000B7,
        ((56, 2),),  # openat
        # mknodat mkdirat unlinkat symlinkat linkat renameat mount truncate ftruncate fchmod fchmodat fchownat fchown
        (
            *(33, 34, 35, 36, 37, 38, 40, 45, 46, 52, 53, 54, 55),
            # unshare ptrace kill tkill socket socketpair bind listen accept connect sendto clone execve perf_event_open
            *(97, 117, 129, 130, 198, 199, 200, 201, 202, 203, 206, 220, 221, 241),
            # setns process_vm_readv process_vm_writev renameat2 bpf execveat userfaultfd
            *(268, 270, 271, 276, 280, 281, 282),
        ),
    ),
}


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Limit this process for good: `memory_bytes` of address space beyond what it has now, `cpu_s` of processor time.

    Raises OSError if the kernel refuses a limit.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES_MAX)
    # The soft limit sends SIGXCPU, which tells a file that takes too long from one that crashes its decoder.
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes)
        _refuse_system_calls()


def _limit(which: int, soft: int, hard: int | None = None) -> None:
    wanted = soft if hard is None else hard
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        wanted = min(wanted, ceiling)
    resource.setrlimit(which, (min(soft, wanted), wanted))


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _refuse_system_calls() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return
    architecture, opens, refused = machine
    program = _filter(architecture, opens, refused + _SAME_EVERYWHERE)
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(program) // 8, program)))


def _prctl(libc: ctypes.CDLL, option: int, value: int, pointer: object = None) -> None:
    argument = ctypes.c_ulong(0) if pointer is None else pointer
    if libc.prctl(option, ctypes.c_ulong(value), argument, ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} was refused: a decoder cannot be confined here")


def _filter(architecture: int, opens: tuple[tuple[int, int], ...], refused: tuple[int, ...]) -> bytes:
    """A BPF program over struct seccomp_data (number at 0, architecture at 4, arguments of 8 bytes from 16).

    Refuses the listed calls, and opening a file other than to read it, with EPERM.
    """

    def op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    refuse, allow = op(_RETURN, _REFUSE), op(_RETURN, _ALLOW)
    steps = [op(_LOAD, 4), op(_JUMP_EQ, architecture, 1, 0), op(_RETURN, _KILL)]
    steps += [op(_LOAD, 0), op(_JUMP_GE, _X32_BIT, 0, 1), refuse]
    for number in refused:
        steps += [op(_JUMP_EQ, number, 0, 1), refuse]
    for number, flags_argument in opens:
        steps += [op(_JUMP_EQ, number, 0, 4), op(_LOAD, 16 + 8 * flags_argument), op(_JUMP_ANY, _WRITING, 0, 1), refuse, allow]
    return b"".join([*steps, allow])
