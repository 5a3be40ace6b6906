"""The claims an MP4 file makes about itself (ISO/IEC 14496-12): read to be compared with what decodes, never believed.

Only the layout and the few tables that carry claims are read; everything else is the decoder's business.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from gateway.media.errors import VideoRejected

_MOOV_BYTES_MAX = 16 * 1024 * 1024
_TOP_BOXES_MAX = 1024
_TRACKS_MAX = 16


class Track(msgspec.Struct, frozen=True):
    """`kind` is the handler (vide, soun); `codec` the sample entry (avc1, mp4a); `duration` and `samples_duration`
    count ticks of 1/`timescale` s: the first as the header says, the second as the sample table adds up.
    """

    kind: str
    codec: str
    width: int
    height: int
    timescale: int
    duration: int
    samples: int
    samples_duration: int


class Movie(msgspec.Struct, frozen=True):
    """`duration` counts ticks of 1/`timescale` s, as the file's header says."""

    timescale: int
    duration: int
    tracks: tuple[Track, ...]


def read_movie(file: BinaryIO, size_bytes: int) -> Movie:
    """Read the claims of an unfragmented MP4. Raises VideoRejected: not_mp4, missing_moov, truncated."""
    moov = _find_moov(file, size_bytes)
    try:
        children = list(_children(moov))
        timescale, duration = _clock(_only(children, "mvhd"))
        boxes = [body for kind, body in children if kind == "trak"]
        if len(boxes) > _TRACKS_MAX:
            raise VideoRejected("not_mp4", f"the file has {len(boxes)} tracks; {_TRACKS_MAX} at most")
        tracks = [track for body in boxes if (track := _track(body, size_bytes)) is not None]
        return Movie(timescale, duration, tuple(tracks))
    except struct.error as error:
        raise VideoRejected("truncated", "a table of the file ends early") from error


def _find_moov(file: BinaryIO, size_bytes: int) -> memoryview:
    if not size_bytes:
        raise VideoRejected("not_mp4", "the file is empty")
    offset, moov = 0, None
    for index in range(_TOP_BOXES_MAX):
        if offset == size_bytes:
            break
        file.seek(offset)
        kind, header_bytes, box_bytes = _box(file.read(16), size_bytes - offset)
        if (kind == "ftyp") != (index == 0):
            raise VideoRejected("not_mp4", "the file does not start as an MP4 file (one ftyp box, first)")
        if box_bytes > size_bytes - offset:
            raise VideoRejected("truncated", f"box {kind!r} claims {box_bytes} bytes, the file has {size_bytes - offset} left")
        if kind == "moof":
            raise VideoRejected("not_mp4", "fragmented MP4 is not taken; write one moov box")
        if kind == "moov":
            if moov is not None or box_bytes > _MOOV_BYTES_MAX:
                raise VideoRejected("not_mp4", f"the file must have one moov box of at most {_MOOV_BYTES_MAX} bytes")
            file.seek(offset + header_bytes)
            moov = memoryview(file.read(box_bytes - header_bytes))
        offset += box_bytes
    if offset != size_bytes:
        raise VideoRejected("not_mp4", f"the file has more than {_TOP_BOXES_MAX} boxes")
    if moov is None:
        raise VideoRejected("missing_moov", "the file has no moov box: it was not written to its end")
    return moov


def _box(head: bytes | memoryview, left_bytes: int) -> tuple[str, int, int]:
    """(kind, bytes of the header, bytes of the whole box) of the box that starts with `head`."""
    if len(head) < 8:
        raise VideoRejected("truncated", "the file ends inside a box header")
    box_bytes, raw_kind = struct.unpack_from(">I4s", head)
    header_bytes = 8
    if box_bytes == 1:
        if len(head) < 16:
            raise VideoRejected("truncated", "the file ends inside a box header")
        (box_bytes,) = struct.unpack_from(">Q", head, 8)
        header_bytes = 16
    elif box_bytes == 0:
        box_bytes = left_bytes
    kind = raw_kind.decode("latin-1")
    if box_bytes < header_bytes:
        raise VideoRejected("not_mp4", f"box {kind!r} claims to be smaller than its header")
    return kind, header_bytes, box_bytes


def _children(body: memoryview) -> Iterator[tuple[str, memoryview]]:
    offset = 0
    while offset < len(body):
        kind, header_bytes, box_bytes = _box(body[offset : offset + 16], len(body) - offset)
        if box_bytes > len(body) - offset:
            raise VideoRejected("truncated", f"box {kind!r} runs past the box that holds it")
        yield kind, body[offset + header_bytes : offset + box_bytes]
        offset += box_bytes


def _only(children: list[tuple[str, memoryview]], wanted: str) -> memoryview:
    found = [body for kind, body in children if kind == wanted]
    if len(found) != 1:
        raise VideoRejected("not_mp4", f"expected one {wanted} box, found {len(found)}")
    return found[0]


def _clock(body: memoryview) -> tuple[int, int]:
    """(timescale, duration) of an mvhd or mdhd box, version 0 or 1."""
    timescale, duration = (
        struct.unpack_from(">IQ", body, 20) if body[:1].tobytes() == b"\x01" else struct.unpack_from(">II", body, 12)
    )
    if timescale == 0:
        raise VideoRejected("not_mp4", "a clock of the file has no ticks per second")
    return timescale, duration


def _track(body: memoryview, size_bytes: int) -> Track | None:
    """The claims of a picture or sound track; None for any other kind (timecode, text)."""
    mdia = list(_children(_only(list(_children(body)), "mdia")))
    timescale, duration = _clock(_only(mdia, "mdhd"))
    (handler,) = struct.unpack_from(">4s", _only(mdia, "hdlr"), 8)
    if handler not in (b"vide", b"soun"):
        return None
    kind = handler.decode("latin-1")
    stbl = list(_children(_only(list(_children(_only(mdia, "minf"))), "stbl")))
    codec, width, height = _sample_entry(_only(stbl, "stsd"), kind)
    samples, samples_bytes = _sample_sizes(_only(stbl, "stsz"))
    if samples_bytes > size_bytes:
        raise VideoRejected("truncated", f"the {kind} samples claim {samples_bytes} bytes, the file has {size_bytes}")
    timed, samples_duration = _sample_times(_only(stbl, "stts"))
    if timed != samples:
        raise VideoRejected("not_mp4", f"the {kind} track has {samples} samples but times for {timed}")
    return Track(kind, codec, width, height, timescale, duration, samples, samples_duration)


def _sample_entry(body: memoryview, kind: str) -> tuple[str, int, int]:
    entries, _, codec = struct.unpack_from(">II4s", body, 4)
    if entries != 1:
        raise VideoRejected("not_mp4", f"the {kind} track has {entries} sample descriptions; one is taken")
    width, height = struct.unpack_from(">HH", body, 40) if kind == "vide" else (0, 0)
    return codec.decode("latin-1"), width, height


def _sample_sizes(body: memoryview) -> tuple[int, int]:
    """(samples, bytes of all of them)."""
    each_bytes, samples = struct.unpack_from(">II", body, 4)
    if each_bytes:
        return samples, each_bytes * samples
    _must_hold(body, 12 + samples * 4)
    return samples, sum(struct.unpack_from(f">{samples}I", body, 12))


def _sample_times(body: memoryview) -> tuple[int, int]:
    """(samples that have a time, ticks of all of them)."""
    (entries,) = struct.unpack_from(">I", body, 4)
    _must_hold(body, 8 + entries * 8)
    pairs = list(struct.iter_unpack(">II", body[8 : 8 + entries * 8]))
    return sum(count for count, _ in pairs), sum(count * ticks for count, ticks in pairs)


def _must_hold(table: memoryview, size_bytes: int) -> None:
    """Checked before a count from the file sizes anything in memory."""
    if size_bytes > len(table):
        raise VideoRejected("truncated", "a table of the file claims more entries than it holds")
