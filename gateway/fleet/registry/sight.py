"""Sight: what the leader sees, for people."""

from collections.abc import Sequence

import msgspec

from billing.kit.query import Conn
from gateway.fleet.registry import sql
from gateway.fleet.registry.model import Sight


async def note_sights(conn: Conn, sights: Sequence[Sight]) -> None:
    """These are all there are; others are forgotten."""
    await sql.NOTE_SIGHTS.run(
        conn,
        [one.name for one in sights],
        [one.condition for one in sights],
        [one.reason for one in sights],
        [msgspec.json.encode(one.loaded) for one in sights],
        [msgspec.json.encode(one.broken) for one in sights],
        [one.running for one in sights],
    )
