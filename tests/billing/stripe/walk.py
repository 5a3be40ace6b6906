"""A walk over everything that can be heard: in every order, at every moment, any of it never, any of it again at any later place.

Two tellings that have led to the same rows at the same moment go on alike, so each pair of both is gone on from once. Rows are
compared whole, but for numbers that are handed out in the order of writing.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from billing.kit.query import Conn

STATES_MAX = 5000
"""More would mean that what is written depends on more than what was heard, and when."""


class Walked(msgspec.Struct, frozen=True):
    """`tellings` counts orders, losses and moments, without repetitions; `states` are books at a moment, `ends` books."""

    tellings: int
    states: int
    ends: int


class Walk:
    """`hear(moment, nth)` lets a message arrive at a moment, of the `known[moment]` that there are by then; `end` ends a telling.

    Both act on `conn`, in a transaction that is undone.
    """

    def __init__(
        self, conn: Conn, known: Sequence[int], hear: Callable[[int, int], Awaitable[None]], end: Callable[[], Awaitable[None]]
    ) -> None:
        self._conn, self._known, self._hear, self._end = conn, known, hear, end
        self._tellings: dict[tuple[int, str], int] = {}
        self._ended: set[str] = set()
        self._books = ""

    async def all(self) -> Walked:
        self._books = await books_of(self._conn)
        tellings = await self._go_on(0, await self._now(), frozenset())
        return Walked(tellings, len(self._tellings), len(self._ended))

    async def _go_on(self, moment: int, books: str, heard: frozenset[int]) -> int:
        """In how many ways a telling goes on from here, each of which has been gone."""
        if (moment, books) in self._tellings:
            return self._tellings[moment, books]
        if books not in self._ended:
            self._ended.add(books)
            await self._undone(self._end)
        tellings = 1 if moment == len(self._known) - 1 else await self._go_on(moment + 1, books, heard)
        for nth in range(self._known[moment]):
            point = self._conn.transaction()
            await point.start()
            await self._hear(moment, nth)
            found = await self._now()
            if nth in heard:
                assert found == books, f"message {nth} was heard again, and changed something"
            else:
                tellings += await self._go_on(moment, found, heard | {nth})
            await point.rollback()
        self._tellings[moment, books] = tellings
        assert len(self._tellings) < STATES_MAX
        return tellings

    async def _undone(self, work: Callable[[], Awaitable[None]]) -> None:
        point = self._conn.transaction()
        await point.start()
        await work()
        await point.rollback()

    async def _now(self) -> str:
        return str(await self._conn.fetchval(self._books))


async def books_of(conn: Conn) -> str:
    """A statement that digests every row of the money plane."""
    tables = await conn.fetch("""
        SELECT c.oid::regclass::text AS name, coalesce((
            SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
            AND (a.attidentity <> '' OR a.atttypid = 'xid8'::regtype OR EXISTS (
                SELECT FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum
                AND pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval%'))), '{}') AS numbers
        FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY 1
    """)
    digests = [
        f"(SELECT coalesce(md5(string_agg(r, '' ORDER BY r)), '') FROM (SELECT (to_jsonb(t) - ARRAY[{_quoted(row['numbers'])}]::text[])::text"
        f" AS r FROM {row['name']} t) rows)"
        for row in tables
    ]
    return f"SELECT md5({' || '.join(digests)})"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
