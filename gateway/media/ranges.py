"""Range, If-Range and If-None-Match of RFC 9110, against one representation of known size. Pure."""

import re
from enum import Enum

import msgspec

_HEADER_CHARACTERS_MAX = 4096
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class ByteRange(msgspec.Struct, frozen=True):
    """Bytes [start, end) of a representation; `end` is one past the last byte."""

    start: int
    end: int

    def content_range(self, size_bytes: int) -> str:
        """The Content-Range header of a 206 answer (RFC 9110 §14.4)."""
        return f"bytes {self.start}-{self.end - 1}/{size_bytes}"


class RangeOutcome(Enum):
    WHOLE = "whole"
    """Answer 200 with everything."""
    UNSATISFIABLE = "unsatisfiable"
    """Answer 416 with `unsatisfied_content_range`."""


def parse_range(header: str | None, size_bytes: int) -> ByteRange | RangeOutcome:
    """The part of `size_bytes` bytes that a Range header asks for.

    Several ranges, another unit and a malformed header all give the whole file: RFC 9110 §14.2 lets a server
    ignore a Range header, and §14.1.1 makes a first position after the last one invalid.
    """
    if header is None or len(header) > _HEADER_CHARACTERS_MAX:
        return RangeOutcome.WHOLE
    unit, equals, ranges = header.partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes":
        return RangeOutcome.WHOLE
    wanted = [part for part in (raw.strip(" \t") for raw in ranges.split(",")) if part]
    match = _RANGE.fullmatch(wanted[0]) if len(wanted) == 1 else None
    if match is None:
        return RangeOutcome.WHOLE
    first, last = match.groups()
    if first:
        return _from_first(int(first), int(last) if last else None, size_bytes)
    return _suffix(int(last), size_bytes) if last else RangeOutcome.WHOLE


def _from_first(first: int, last: int | None, size_bytes: int) -> ByteRange | RangeOutcome:
    if last is not None and last < first:
        return RangeOutcome.WHOLE
    if first >= size_bytes:
        return RangeOutcome.UNSATISFIABLE
    return ByteRange(first, size_bytes if last is None else min(last + 1, size_bytes))


def _suffix(length: int, size_bytes: int) -> ByteRange | RangeOutcome:
    if length == 0 or size_bytes == 0:
        return RangeOutcome.UNSATISFIABLE
    return ByteRange(max(0, size_bytes - length), size_bytes)


def unsatisfied_content_range(size_bytes: int) -> str:
    """The Content-Range header of a 416 answer (RFC 9110 §14.4)."""
    return f"bytes */{size_bytes}"


def entity_tag(sha256: str) -> str:
    """The strong entity tag of an object: its content's hash, so equal tags mean equal bytes."""
    return f'"{sha256}"'


def range_still_applies(if_range: str | None, etag: str) -> bool:
    """Whether a Range header may be honoured (RFC 9110 §13.1.5).

    Strong comparison: a weak tag never matches. A date never matches either, because objects carry no
    Last-Modified; the client then gets the whole file, which is always right.
    """
    return if_range is None or if_range.strip(" \t") == etag


def is_not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether a GET may be answered 304 (RFC 9110 §13.1.2: weak comparison, a list or `*`)."""
    if if_none_match is None:
        return False
    if if_none_match.strip(" \t") == "*":
        return True
    return etag in _ENTITY_TAG.findall(if_none_match)
