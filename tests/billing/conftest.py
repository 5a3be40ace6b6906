"""A clock that tests own: billing.now() is replaced in the test's own database, as simulators do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from billing.kit.query import Conn
from tests.billing.plans.shop import Shop, open_shop

DAWN = datetime(2026, 1, 1, 0, tzinfo=UTC)


class Clock:
    """Stands still until it is told."""

    def __init__(self, conn: Conn) -> None:
        self._conn, self.at = conn, DAWN

    async def install(self) -> None:
        await self._conn.execute("CREATE TABLE public.clock (at timestamptz NOT NULL)")
        await self._conn.execute("INSERT INTO public.clock VALUES ($1)", self.at)
        await self._conn.execute(
            "CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM public.clock'"
        )
        await self._conn.execute("GRANT SELECT ON public.clock TO PUBLIC")

    async def set(self, at: datetime) -> datetime:
        self.at = at
        await self._conn.execute("UPDATE public.clock SET at = $1", at)
        return at

    async def advance(self, **by: int) -> datetime:
        """`advance(days=1, hours=2)`; real hours, whatever clocks on walls do."""
        return await self.set(self.at + timedelta(**by))


@pytest.fixture
async def clock(database: Conn) -> Clock:
    """The database's clock, at the first moment of 2026."""
    made = Clock(database)
    await made.install()
    return made


@pytest.fixture
async def shop(database: Conn, clock: Clock) -> AsyncIterator[Shop]:
    """A shop at the first moment of 2026 (UTC), with the packaged catalogue."""
    async with open_shop(database) as opened:
        yield opened
