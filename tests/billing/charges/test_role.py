"""The role that processes act as can do all of it, and cannot change what was recorded even where no trigger watches."""

import asyncpg
import pytest

from billing.charges.model import Refund
from billing.charges.months import add_months
from billing.charges.rollup import roll_up
from billing.kit.pool import open_pool
from tests.billing.charges.till import FACTS, GRADUATED, Till, ended


async def test_the_role_records_and_cannot_rewrite(dsn: str, till: Till) -> None:
    async with await open_pool(dsn, name="tests", size_min=1, size_max=1, role="tallylight_app") as pool, pool.acquire() as conn:
        narrow = Till(conn, till.customer)
        settled = await narrow.settled(8000, GRADUATED)
        await narrow.refund(Refund(id=settled.id, reason="bad"))
        await narrow.release(ended(await narrow.held(), FACTS))
        async with conn.transaction():
            assert await add_months(conn, ahead=5) == 2
            assert await roll_up(conn) == 3
        await till.conn.execute("ALTER TABLE billing.usage DISABLE TRIGGER ALL")
        (partition,) = await conn.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM billing.usage")
        for change in ("DELETE FROM {}", "UPDATE {} SET end_user = ''", "TRUNCATE {}"):
            for table in ("billing.usage", partition["name"]):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(change.format(table))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("DELETE FROM billing.usage_series")
