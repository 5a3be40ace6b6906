"""Inbox: which jobs wait, read so that the leader's memory stays exact without ever reading the whole queue twice."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from billing.kit.query import Conn
from gateway.jobs.model import JobRef
from gateway.jobs.waiting import sql
from gateway.jobs.waiting.model import Flow, Waiting

FIRST_MAX = 5_000


class Inbox:
    """One leadership's. A job that is not to start before some time is kept back until then."""

    def __init__(self) -> None:
        self._mark = "0"
        self._asked: set[bytes] = set()
        self._later: list[tuple[float, int, Waiting]] = []
        self._kept: set[bytes] = set()
        self._read = 0

    async def read_first(self, conn: Conn) -> list[Waiting]:
        """The first reading: of what may start, the first few thousand by tier and age. `read_whole` must follow.

        The mark is taken before: what a reading does not see yet has an id from its mark on, and so the next one finds it.
        """
        self._mark = (await sql.MARK.one(conn)).mark
        return await sql.FIRST.all(conn, await database_time(conn), FIRST_MAX)

    async def read_whole(self, conn: Conn) -> tuple[list[Flow], list[Waiting]]:
        """All that waits, in a transaction with one snapshot: what may start and never ran, and the rest, for `keep`."""
        now = await database_time(conn)
        return await sql.FLOWS.all(conn, now), await sql.OTHERS.all(conn, now)

    def keep(self, rows: Sequence[Waiting], known: Callable[[bytes], bool]) -> None:
        """They are `due` when they may start, except what is known."""
        self._keep([row for row in rows if not known(row.key)])

    async def read(self, conn: Conn, known: Callable[[bytes], bool]) -> None:
        """Reads what was queued since the last reading, and what was asked for, except what is known."""
        mark = (await sql.MARK.one(conn)).mark
        rows = await sql.WAITING_SINCE.all(conn, self._mark)
        if self._asked:
            asked = [JobRef.of(key) for key in self._asked]
            rows += await sql.WAITING_BY_ID.all(conn, [ref.org_id for ref in asked], [ref.id for ref in asked])
            self._asked.difference_update(ref.key for ref in asked)
        self._mark = mark
        self.keep(rows, known)

    def ask(self, key: bytes) -> None:
        """Something happened to this job that may have put it back into the queue."""
        self._asked.add(key)

    def due(self, now: float) -> list[Waiting]:
        """Those that may start, in the order in which they may."""
        due: list[Waiting] = []
        while self._later and self._later[0][0] <= now:
            row = heappop(self._later)[2]
            self._kept.discard(row.key)
            due.append(row)
        return due

    def wait_s(self, now: float, most_s: float) -> float:
        """How long until the next one is due, at most `most_s`."""
        return min(most_s, max(self._later[0][0] - now, 0.0)) if self._later else most_s

    def _keep(self, rows: Sequence[Waiting]) -> None:
        for row in rows:
            if row.key not in self._kept:
                self._kept.add(row.key)
                self._read += 1
                heappush(self._later, (row.available_at, self._read, row))


async def database_time(conn: Conn) -> float:
    """Seconds of the epoch."""
    return (await sql.NOW.one(conn)).at
