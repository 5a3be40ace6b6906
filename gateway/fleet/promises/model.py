"""Rows; pure."""

from uuid import UUID

import msgspec

from gateway.fleet.policy.curve import DemandCurve
from gateway.fleet.policy.restore import Memory


class Term(msgspec.Struct, frozen=True):
    """A leadership; `memory` is what an earlier one had learnt, still encoded."""

    term: int
    memory: bytes | None


class Published(msgspec.Struct, frozen=True):
    """A curve, still encoded, and the processes that may quote from it.

    `read_at`: all that was committed before is in it; `now`: when this was read. Seconds of the epoch.
    """

    term: int
    epoch: int
    read_at: float
    now: float
    curve: bytes
    quoters: list[UUID]


encode_curve = msgspec.msgpack.Encoder().encode
decode_curve = msgspec.msgpack.Decoder(DemandCurve).decode
encode_memory = msgspec.msgpack.Encoder().encode
decode_memory = msgspec.msgpack.Decoder(Memory).decode
