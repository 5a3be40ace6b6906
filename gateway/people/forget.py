"""Forget: sessions, invitations, failures and trips to a provider that are over."""

from billing.kit.query import Conn
from gateway.people import sql
from gateway.people.model import FORGIVEN_S, IDLE_S

_SHOWN_S = 30 * 86400
"""An invitation that was not accepted in time is listed for so long."""


async def forget_sign_ins(conn: Conn) -> int:
    """A janitor's work. Returns how many rows."""
    forgotten = await sql.FORGET_SESSIONS.run(conn, IDLE_S)
    forgotten += await sql.FORGET_INVITATIONS.run(conn, _SHOWN_S)
    forgotten += await sql.FORGET_PACES.run(conn, FORGIVEN_S)
    return forgotten + await sql.FORGET_TRIPS.run(conn)
