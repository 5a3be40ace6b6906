"""Files from addresses that customers name: a bounded number at a time, and only some of them for one customer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from gateway.egress.errors import EgressBusy
from gateway.egress.guard import Egress

AT_ONCE = 16
EACH = 4
"""So many of the places one customer may take: who names slow servers waits for them alone."""
TIMEOUT_S = 20.0


class Fetcher:
    """One per process. A file keeps its place until it was dealt with, so AT_ONCE bounds the memory too."""

    def __init__(self, egress: Egress, *, timeout_s: float = TIMEOUT_S) -> None:
        self._egress, self._timeout_s = egress, timeout_s
        self._places = asyncio.Semaphore(AT_ONCE)
        self._own: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    def check(self, url: str) -> None:
        """Raises UrlRefused for what can be refused without asking anyone."""
        self._egress.check(url)

    @asynccontextmanager
    async def file(self, customer_id: UUID, url: str, *, bytes_max: int) -> AsyncGenerator[bytes]:
        """What lies at `url`. Raises UrlRefused, EgressFailed; EgressBusy when no place came free in time."""
        own = self._own.setdefault(customer_id, asyncio.Semaphore(EACH))
        async with _within(own, self._timeout_s), _within(self._places, self._timeout_s):
            yield (await self._egress.get(url, bytes_max=bytes_max, timeout_s=self._timeout_s)).body


@asynccontextmanager
async def _within(places: asyncio.Semaphore, timeout_s: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            await places.acquire()
    except TimeoutError as error:
        raise EgressBusy("busy", f"no place to fetch came free within {timeout_s:g} s") from error
    try:
        yield
    finally:
        places.release()
