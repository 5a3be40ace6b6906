"""Read: what the registry says, and what was seen."""

from billing.kit.query import Conn
from gateway.errors import NotFound
from gateway.fleet.registry import sql
from gateway.fleet.registry.model import ReplicaRow, SeenRow


async def follow(conn: Conn) -> list[ReplicaRow]:
    """All that are not removed, for the dispatcher."""
    return await sql.FOLLOW.all(conn)


async def list_replicas(conn: Conn) -> list[SeenRow]:
    """By name; one that is removed is listed while something still runs on it."""
    return await sql.LIST.all(conn, None)


async def read_replica(conn: Conn, name: str) -> SeenRow:
    """Also one that is removed. Raises NotFound."""
    found = await sql.LIST.maybe(conn, name)
    if found is None:
        raise NotFound(f"there is no replica {name}")
    return found
