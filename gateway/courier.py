"""Courier: sends what is due, many at a time, and a few to each endpoint, so that one that is dead delays nobody.

At least once: a delivery is claimed, sent, and recorded. Whoever dies in between leaves a claim that runs out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from billing.kit.batch import TRANSIENT
from billing.kit.query import Pool
from gateway.egress.errors import EgressError
from gateway.egress.guard import Egress
from gateway.telemetry.metrics import webhook_tries
from gateway.webhooks.claim import claim
from gateway.webhooks.model import Claimed, Outcome
from gateway.webhooks.record import record_try
from gateway.webhooks.sign import Secrets

log = structlog.get_logger(__name__)

AT_ONCE = 200
TIMEOUT_S = 20.0
CLAIM_S = 60.0
"""Longer than a try can take. After it another courier may send the same again."""
ANSWER_BYTES_MAX = 16 << 10
_SHOWN_CHARS = 500
_GATHER_S = 0.02
"""Between two claims, so that a busy courier does not ask once for every answer."""

Compose = Callable[[Claimed], Awaitable[bytes | None]]
"""The body of a delivery; None where there is nothing to tell any more, because its job was deleted."""


class Courier:
    """Any number may run at once; claiming is one at a time, so that the places of an endpoint are counted right."""

    def __init__(
        self, pool: Pool, egress: Egress, secrets: Secrets, compose: Compose, *, poll_s: float, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._pool, self._egress, self._secrets, self._compose = pool, egress, secrets, compose
        self._poll_s, self._timeout_s = poll_s, timeout_s

    async def run(self) -> None:
        """Until cancelled; what is under way then is left to its claim."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                claimed = await self._claim(AT_ONCE - len(under_way))
                under_way |= {asyncio.create_task(self._deliver(one)) for one in claimed}
                # What has ended made room, at its endpoint too; else time may have made something due.
                done, under_way = await _some_of(under_way, self._poll_s)
                await asyncio.sleep(_GATHER_S)
                for task in done:
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _claim(self, limit: int) -> list[Claimed]:
        if limit == 0:
            return []
        try:
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                return await claim(conn, limit, for_s=CLAIM_S)
        except TRANSIENT as error:
            log.warning("courier_waits", error=type(error).__name__)
            return []

    async def _deliver(self, one: Claimed) -> None:
        try:
            outcome = await self.send(one)
            async with self._pool.acquire(timeout=5) as conn, conn.transaction():
                await record_try(conn, one.org_id, one.id, one.endpoint_id, tries=one.tries, outcome=outcome)
        except TRANSIENT as error:
            log.warning("delivery_not_recorded", delivery_id=str(one.id), error=type(error).__name__)
            return
        came = "delivered" if outcome.delivered else "refused" if outcome.status else "unanswered"
        webhook_tries(came).inc()
        log.info("webhook_tried", delivery_id=str(one.id), status=outcome.status, error=outcome.error, took_ms=outcome.took_ms)

    async def send(self, one: Claimed) -> Outcome:
        """One try. Never raises for what the receiver does."""
        began = time.monotonic()
        try:
            body = await self._compose(one)
        except TRANSIENT:
            raise
        except Exception:
            log.exception("message_not_composed", delivery_id=str(one.id))  # one bad row must not stop all the others
            return Outcome(0, error="internal: the message could not be made", ours=True)
        if body is None:
            return Outcome(0, error="the job was deleted", lasting=True, ours=True)
        message = self._secrets.message(one, body, delivery_id=one.id)
        try:
            answer = await self._egress.post(
                one.url, body, message.headers, bytes_max=ANSWER_BYTES_MAX, timeout_s=self._timeout_s
            )
        except EgressError as error:
            return Outcome(_ms_since(began), error=f"{error.code}: {error.detail}")
        said = "" if 200 <= answer.status < 300 else answer.body.decode(errors="replace").replace("\x00", "")[:_SHOWN_CHARS]
        return Outcome(_ms_since(began), answer.status, answer=said)


async def _some_of(tasks: set[asyncio.Task[None]], timeout_s: float) -> tuple[set[asyncio.Task[None]], set[asyncio.Task[None]]]:
    if not tasks:
        await asyncio.sleep(timeout_s)
        return set(), set()
    return await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
