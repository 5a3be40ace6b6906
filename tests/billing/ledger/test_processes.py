"""Money for one job, and hundreds of holds for it from several processes at the same moment: exactly one wins."""

import asyncio
import os
import sys

from tests.billing.ledger.book import Ledger
from tests.billing.ledger.spender import CONNECTIONS, START
from tests.tidy.checks import ROOT

PROCESSES = 4
HOLDS = int(os.environ.get("TALLYLIGHT_TEST_HOLDS", "60"))


async def test_a_balance_for_one_is_held_once(ledger: Ledger, dsn: str) -> None:
    await ledger.conn.execute("SELECT pg_advisory_lock($1)", START)
    command = [sys.executable, "-m", "tests.billing.ledger.spender", dsn, str(ledger.wallet), str(HOLDS)]
    spenders = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE) for _ in range(PROCESSES)
    ]
    try:
        await until_all_wait(ledger, PROCESSES * CONNECTIONS)
        await ledger.conn.execute("SELECT pg_advisory_unlock($1)", START)
        told = [(await spender.communicate())[0] for spender in spenders]
    finally:
        for spender in spenders:
            if spender.returncode is None:
                spender.kill()
    assert sorted(map(int, told)) == [0] * (PROCESSES - 1) + [1]
    assert await ledger.balance() == (100, 60)


async def until_all_wait(ledger: Ledger, connections: int) -> None:
    async with asyncio.timeout(60):
        while (
            await ledger.conn.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") < connections
        ):
            await asyncio.sleep(0.02)
