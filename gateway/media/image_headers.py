"""The size an image claims, read from its first bytes without decoding anything, and where its data ends."""

import re
import struct
from typing import Literal

import msgspec

from gateway.media.errors import ImageRejected

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# In entropy-coded data, FF is followed by 00 (a stuffed FF), by a restart marker, or by FF (fill); anything else is a marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END, _JPEG_SCAN, _JPEG_APP2 = 0xD9, 0xDA, 0xE2


class ImageHeader(msgspec.Struct, frozen=True):
    format: Literal["png", "jpeg", "webp"]
    width: int
    height: int


def read_header(data: bytes) -> ImageHeader:
    """Find format and size of a still PNG, JPEG or WebP that fills `data` to its last byte.

    Raises ImageRejected: unsupported_format, animated, truncated, trailing_data, undecodable.
    """
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(_JPEG):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise _truncated() from error
    raise ImageRejected("unsupported_format", "send a PNG, JPEG or WebP image")


def _png(data: bytes) -> ImageHeader:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if kind != b"IHDR" or length != 13:
        raise ImageRejected("undecodable", "the PNG does not start with its header; save the image again")
    offset = 8
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        if kind == b"acTL":
            raise _animated()
        offset += 12 + length
    _must_end_at(data, offset)
    return ImageHeader("png", width, height)


def _webp(data: bytes) -> ImageHeader:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    chunk = data[12:16]
    if chunk == b"VP8X":
        if data[20] & 0x02:
            raise _animated()
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageRejected("undecodable", "the WebP starts with an unknown chunk; save the image again")
    _must_end_at(data, 8 + riff_bytes + riff_bytes % 2)
    return ImageHeader("webp", width, height)


def _jpeg(data: bytes) -> ImageHeader:
    offset, size, is_multi_picture = 2, None, False
    while True:
        found = _JPEG_MARKER.search(data, offset)
        if found is None:
            raise _truncated()
        marker, offset = data[found.end() - 1], found.end()
        if marker == _JPEG_END:
            break
        (length,) = struct.unpack_from(">H", data, offset)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, offset + 3)
            size = (width, height)
        if marker == _JPEG_APP2 and data[offset + 2 : offset + 6] == b"MPF\x00":
            is_multi_picture = True
        offset += length
    if size is None:
        raise ImageRejected("undecodable", "the JPEG has no picture; save the image again")
    # Phones append a depth or brightness map as a second JPEG and announce it (CIPA DC-007); some pad with zeros.
    rest = data[offset:].lstrip(b"\x00")
    if rest and not (is_multi_picture and rest.startswith(_JPEG)):
        raise _trailing()
    return ImageHeader("jpeg", *size)


def _must_end_at(data: bytes, end: int) -> None:
    if end > len(data):
        raise _truncated()
    if end < len(data):
        raise _trailing()


def _truncated() -> ImageRejected:
    return ImageRejected("truncated", "the image ends early; send the whole file")


def _trailing() -> ImageRejected:
    return ImageRejected("trailing_data", "other data follows the image; save the image again and send the new file")


def _animated() -> ImageRejected:
    return ImageRejected("animated", "animated images are not taken; send one still frame")
