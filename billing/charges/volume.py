"""Volumes: which place in a customer's month a quantity takes, so that graduated prices count every millisecond once."""

from collections.abc import Iterable
from uuid import UUID

from billing.charges import sql
from billing.kit.query import Conn

Key = tuple[UUID, str, str]
"""Customer, book, and the key in the terms."""


class Volumes:
    """The counters of one transaction, locked in order until its end."""

    def __init__(self, counted: dict[Key, int]) -> None:
        self._before, self._counted = dict(counted), counted

    def position(self, key: Key) -> int:
        """How much was counted so far; 0 where the price has no steps."""
        return self._counted.get(key, 0)

    def advance(self, key: Key, quantity: int) -> None:
        if key in self._counted:
            self._counted[key] += quantity

    async def write(self, conn: Conn) -> None:
        changed = [(*key, counted) for key, counted in self._counted.items() if counted != self._before[key]]
        if changed:
            await sql.COUNT_VOLUMES.run(conn, *[list(column) for column in zip(*changed, strict=True)])


async def lock_volumes(conn: Conn, keys: Iterable[Key]) -> Volumes:
    """Opens and locks the counters of these keys; a key without a name is of a price without steps."""
    wanted = sorted({key for key in keys if key[2]})
    if not wanted:
        return Volumes({})
    columns = [list(column) for column in zip(*wanted, strict=True)]
    await sql.ADD_VOLUMES.run(conn, *columns)
    rows = await sql.LOCK_VOLUMES.all(conn, *columns)
    return Volumes({(row.customer_id, row.book, row.key): row.counted for row in rows})
