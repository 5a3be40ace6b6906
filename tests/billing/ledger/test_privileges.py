"""The role of the processes: it does what the verbs do, and cannot change history even where the triggers are off."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from billing.kit.pool import open_pool
from billing.kit.query import Conn
from tests.billing.ledger.book import Ledger, open_ledger

HISTORY = ("transfer", "entry", "seal", "grant")


@pytest.fixture
async def acting(dsn: str) -> AsyncIterator[Conn]:
    async with await open_pool(dsn, name="app", role="tallylight_app", size_min=1, size_max=1) as pool:
        async with pool.acquire() as conn:
            await conn.execute("SELECT 1")
        async with pool.acquire() as conn:  # a connection that was given back and reset is still that role
            yield conn


async def test_every_verb_works_as_the_role(acting: Conn) -> None:
    assert await acting.fetchval("SELECT current_user") == "tallylight_app"
    ledger = await open_ledger(acting)
    await ledger.capture((await ledger.held(60), 25))
    await ledger.release(await ledger.held(10))
    assert await ledger.balance() == (75, 0)
    assert await ledger.findings() == []


@pytest.mark.parametrize("table", HISTORY)
@pytest.mark.parametrize(
    "verb", ["UPDATE billing.{table} SET {column} = {column}", "DELETE FROM billing.{table}", "TRUNCATE billing.{table}"]
)
async def test_history_is_out_of_its_reach(acting: Conn, damaged: Ledger, table: str, verb: str) -> None:
    await damaged.conn.execute(f"ALTER TABLE billing.{table} DISABLE TRIGGER USER")
    column = {"transfer": "kind", "entry": "asset", "seal": "digest", "grant": "kind"}[table]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=f"permission denied for table {table}"):
        await acting.execute(verb.format(table=table, column=column))


async def test_it_cannot_disarm_a_trigger(acting: Conn) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await acting.execute("ALTER TABLE billing.transfer DISABLE TRIGGER USER")
