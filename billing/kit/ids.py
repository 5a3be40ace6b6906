"""Identifiers: time-ordered for things that happen, derived for things that must happen once."""

import os
import time
from uuid import UUID, uuid5

_LEDGER = UUID("6a1c9f5e-7d0b-5c4e-9a37-2f8e41d6b0c3")


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then 74 random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return UUID(int=value)


def derived_id(kind: str, source: UUID | str, step: str = "") -> UUID:
    """The one id that `step` of `kind` may ever have for `source`: a UUIDv5, so a replay meets its own row."""
    return uuid5(_LEDGER, f"{kind}/{source}/{step}")
