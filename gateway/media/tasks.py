"""What is said between the gateway and its decoder processes: msgpack, each message after its length."""

from typing import Literal

import msgspec


class Expected(msgspec.Struct, frozen=True):
    """The video a job promised. `fps` is frames per second. With `exact_length`, exactly `frames` frames;
    otherwise 1 to `frames`. With `audio`, a sound track as long as the picture.
    """

    width: int
    height: int
    fps: int
    frames: int
    exact_length: bool
    audio: bool


class VerifiedVideo(msgspec.Struct, frozen=True, tag=True):
    """What was found by decoding every frame. `sha256` (hex) is of the very file that was decoded.

    `duration_ms` = frames × 1000 × fps_den // fps_num, so it follows from the decoded frames alone.
    """

    frames: int
    fps_num: int
    fps_den: int
    width: int
    height: int
    duration_ms: int
    has_audio: bool
    bytes: int
    sha256: str


class ImageLimits(msgspec.Struct, frozen=True):
    """What an input image may be at most: file bytes, pixels (width × height), and pixels along the longer edge."""

    bytes: int
    pixels: int
    edge: int


class ProbedImage(msgspec.Struct, frozen=True, tag=True):
    """A whole, still image that decodes. `width` and `height` are as stored, before any EXIF rotation."""

    format: Literal["png", "jpeg", "webp"]
    width: int
    height: int


class EncodedFrame(msgspec.Struct, frozen=True, tag=True):
    body: bytes


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The file is at fault."""

    code: str
    detail: str


class VerifyVideo(msgspec.Struct, frozen=True, tag=True):
    path: str
    expected: Expected


class ExtractFrame(msgspec.Struct, frozen=True, tag=True):
    path: str
    which: Literal["first", "last"]


class ProbeImage(msgspec.Struct, frozen=True, tag=True):
    data: bytes
    limits: ImageLimits


Task = VerifyVideo | ExtractFrame | ProbeImage
Reply = VerifiedVideo | EncodedFrame | ProbedImage | Refused


class Outcome(msgspec.Struct, frozen=True):
    """How the process that did one task ended.

    `status` is 0, an exit code, or minus the signal that killed it; `reply` is an encoded Reply if `status` is 0.
    `peak_bytes` is its peak resident memory, `cpu_ms` its processor time.
    """

    status: int
    peak_bytes: int
    cpu_ms: int
    reply: bytes


CANNOT_CONFINE = 70
"""The status of a child that refused to touch a file because it could not be confined."""

HEADER_BYTES = 4
MESSAGE_BYTES_MAX = 256 * 1024 * 1024


def framed(body: bytes) -> bytes:
    """`body` after its length in 4 big-endian bytes."""
    return len(body).to_bytes(HEADER_BYTES, "big") + body
