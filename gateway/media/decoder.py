"""A decoder process: warm and idle, it forks one confined child per file, so no file ever meets another one's decoder.

    python -m gateway.media.decoder MEMORY_BYTES CPU_S

Reads framed Tasks from standard input, writes a framed Outcome for each, and ends at end of input. It writes an empty
frame once it is warm. It never reads a file itself: what a hostile file can corrupt or kill is only its own child.
"""

import gc
import os
import sys
from typing import BinaryIO

import av.logging
import msgspec

from gateway.media import decode_image, decode_video
from gateway.media.confine import confine
from gateway.media.errors import Rejected
from gateway.media.tasks import (
    CANNOT_CONFINE,
    HEADER_BYTES,
    MESSAGE_BYTES_MAX,
    EncodedFrame,
    ExtractFrame,
    Outcome,
    ProbeImage,
    Refused,
    Reply,
    Task,
    VerifyVideo,
    framed,
)

_tasks: msgspec.msgpack.Decoder[Task] = msgspec.msgpack.Decoder(Task)


def main() -> None:
    memory_bytes, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    requests = os.fdopen(os.dup(0), "rb")
    outcomes = os.fdopen(os.dup(1), "wb")
    # Nothing but frames may reach the pipe: libraries that print to standard output write to nowhere.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    av.logging.set_level(None)
    decode_image.warm()
    gc.freeze()
    _send(outcomes, b"")
    while header := requests.read(HEADER_BYTES):
        body = requests.read(int.from_bytes(header, "big"))
        _send(outcomes, msgspec.msgpack.encode(_in_child(body, memory_bytes, cpu_s)))


def _send(outcomes: BinaryIO, body: bytes) -> None:
    outcomes.write(framed(body))
    outcomes.flush()


def _in_child(body: bytes, memory_bytes: int, cpu_s: int) -> Outcome:
    """Do one task in a forked child. The child's whole reply is read before it is believed to have ended well."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(body, writer, memory_bytes, cpu_s)
    os.close(writer)
    with os.fdopen(reader, "rb") as replies:
        reply = replies.read(MESSAGE_BYTES_MAX)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000)
    return Outcome(code, peak_bytes, cpu_ms, reply if code == 0 else b"")


def _child(body: bytes, writer: int, memory_bytes: int, cpu_s: int) -> None:
    """Never returns: whatever happens here must not run the parent's code a second time."""
    status = 1
    try:
        # The reply goes out on 0 and nothing else stays open: a child cannot speak for another file.
        os.dup2(writer, 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        try:
            confine(memory_bytes, cpu_s)
        except OSError:
            status = CANNOT_CONFINE
            raise
        with os.fdopen(0, "wb") as replies:
            replies.write(msgspec.msgpack.encode(_perform(_tasks.decode(body))))
        status = 0
    finally:
        os._exit(status)


def _perform(task: Task) -> Reply:
    try:
        match task:
            case VerifyVideo(path, expected):
                return decode_video.verify(path, expected)
            case ExtractFrame(path, which):
                return EncodedFrame(decode_video.extract(path, which))
            case ProbeImage(data, limits):
                return decode_image.probe(data, limits)
    except Rejected as refusal:
        return Refused(refusal.code, refusal.detail)
    except Exception as error:  # noqa: BLE001 – this child is about to end and has no log: the refusal says what happened
        return Refused("decoder_crashed", f"the decoder failed on this file ({type(error).__name__}: {error})")


if __name__ == "__main__":
    main()
