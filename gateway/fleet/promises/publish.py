"""Publish: the leader's side. A leadership begins with a term; only the newest one's curve is heard."""

import msgspec
import structlog

from billing.kit.query import Conn
from gateway.fleet.policy.curve import DemandCurve
from gateway.fleet.policy.restore import Memory
from gateway.fleet.promises import sql
from gateway.fleet.promises.model import decode_memory, encode_curve, encode_memory

log = structlog.get_logger(__name__)

COUNTED_S = 10.0
"""A process that was not seen for so long is not counted; it has stopped promising long before (quotes.STALE_S)."""


async def begin_term(conn: Conn) -> tuple[int, Memory | None]:
    """The number of a new leadership, and what an earlier one had learnt, if that can be read."""
    begun = await sql.BEGIN_TERM.one(conn)
    try:
        return begun.term, decode_memory(begun.memory) if begun.memory else None
    except msgspec.DecodeError as error:  # of another version; it is only worth some minutes of learning
        log.warning("memory_not_read", reason=str(error))
        return begun.term, None


async def publish(conn: Conn, term: int, curve: DemandCurve, *, read_at: float) -> None:
    """`read_at`: when the queue was read of which this curve is. Does nothing for a term that is over."""
    await sql.PUBLISH.run(conn, term, read_at, encode_curve(curve), COUNTED_S)


async def keep(conn: Conn, term: int, memory: Memory) -> None:
    """For the next leader. Does nothing for a term that is over."""
    await sql.KEEP.run(conn, term, encode_memory(memory))
