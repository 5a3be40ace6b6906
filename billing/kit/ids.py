"""Identifiers: time-ordered for things that happen, derived for things that must happen once."""

import os
import time
from hashlib import blake2b
from uuid import UUID, uuid5

_LEDGER = UUID("6a1c9f5e-7d0b-5c4e-9a37-2f8e41d6b0c3")


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)


def derived_after(kind: str, source: UUID) -> UUID:
    """The one id that `kind` may have for `source`, as ordered in time as that is: a UUIDv8 with its first 48 bits.

    Rows that are written together then stand together in an index, however large it has grown.
    """
    value = int.from_bytes(blake2b(kind.encode() + source.bytes, digest_size=16).digest(), "big")
    value = source.int >> 80 << 80 | value & (1 << 80) - 1
    value = value & ~(0xF << 76) | (0x8 << 76)
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


def derived_id(kind: str, source: UUID | str, step: str = "") -> UUID:
    """The one id that `step` of `kind` may ever have for `source`: a UUIDv5, so a replay meets its own row."""
    return uuid5(_LEDGER, f"{kind}/{source}/{step}")
