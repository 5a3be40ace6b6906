"""A process that wants a wallet's last money many times at once: `python -m tests.billing.ledger.spender DSN WALLET TIMES`.

It waits for the test's start signal, an advisory lock, on every connection; then prints how many of its holds were accepted.
"""

import asyncio
import sys
from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.pool import open_pool
from billing.ledger.hold import hold
from billing.ledger.model import Held, HoldRequest

START = 7
CONNECTIONS = 6


async def main(dsn: str, wallet: UUID, times: int) -> None:
    async with await open_pool(
        dsn, name="spender", size_min=CONNECTIONS, size_max=CONNECTIONS, statement_timeout_ms=60_000
    ) as pool:

        async def spend(share: int) -> int:
            accepted = 0
            async with pool.acquire() as conn:
                await conn.execute("SELECT pg_advisory_lock_shared($1)", START)
                for _ in range(share):
                    async with conn.transaction():
                        (outcome,) = await hold(conn, [HoldRequest(new_id(), wallet, 60)])
                    accepted += isinstance(outcome, Held)
            return accepted

        print(sum(await asyncio.gather(*[spend(times // CONNECTIONS) for _ in range(CONNECTIONS)])))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
