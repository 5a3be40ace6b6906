"""The log of deliveries: read it, send one again, forget the old."""

from uuid import UUID

from billing.kit.query import Conn
from gateway.errors import NotFound
from gateway.webhooks import sql
from gateway.webhooks.model import KEPT_S, LISTENER_S, Delivery, Try

_BATCH = 5000


async def list_deliveries(
    conn: Conn, org_id: UUID, endpoint_id: UUID, *, state: str | None = None, after: UUID | None = None, limit: int = 20
) -> list[Delivery]:
    """The oldest first, those behind `after`."""
    return await sql.DELIVERIES.all(conn, org_id, endpoint_id, state, after, limit)


async def find_delivery(conn: Conn, org_id: UUID, delivery_id: UUID) -> Delivery:
    """Raises NotFound."""
    found = await sql.DELIVERY.maybe(conn, org_id, delivery_id)
    if found is None:
        raise NotFound
    return found


async def tries_of(conn: Conn, delivery: Delivery) -> list[Try]:
    return await sql.TRIES.all(conn, delivery.org_id, delivery.id)


async def resend(conn: Conn, delivery: Delivery) -> Delivery:
    """Sends it once more, whatever became of it, under the same id."""
    return await sql.RESEND.one(conn, delivery.org_id, delivery.id)


async def forget_deliveries(conn: Conn) -> int:
    """Removes what is older than KEPT_S, and listeners that nobody took away."""
    return await sql.FORGET_LISTENERS.run(conn, LISTENER_S) + await sql.FORGET_DELIVERIES.run(conn, KEPT_S, _BATCH)
