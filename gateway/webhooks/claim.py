"""Take deliveries that are due, to send them."""

from billing.kit.query import Conn
from gateway.webhooks import sql
from gateway.webhooks.model import Claimed


async def claim(conn: Conn, limit: int, *, for_s: float) -> list[Claimed]:
    """The longest due first, as many of each endpoint as it has places; nobody else is given them for `for_s`.

    Any number may ask at once, in a transaction each: all but one get nothing, so that places are counted right.
    """
    return await sql.CLAIM.all(conn, limit, for_s) if (await sql.CLAIM_ALONE.one(conn)).alone else []
