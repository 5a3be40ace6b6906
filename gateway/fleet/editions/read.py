"""Read: the edition that is in force."""

from billing.kit.query import Conn
from gateway.fleet.editions import sql
from gateway.fleet.editions.model import Edition, edition_of


async def newest(conn: Conn, after: int = 0) -> Edition | None:
    """None where none is newer than the version `after`. Raises CatalogueError."""
    row = await sql.NEWEST.maybe(conn, after)
    return None if row is None else edition_of(row)
