"""Months: made ahead, made at once by any number, and what has no month is kept all the same."""

import asyncio
from datetime import UTC, datetime

from billing.charges.model import Usage
from billing.charges.months import add_months
from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from tests.billing.charges.book import START, Usages, series


async def months(conn: Conn) -> list[str]:
    rows = await conn.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'billing.usage'::regclass ORDER BY 1"
    )
    return [row["name"].removeprefix("billing.usage_") for row in rows]


async def home(conn: Conn, subject: object) -> str:
    name = await conn.fetchval("SELECT tableoid::regclass::text FROM billing.usage WHERE subject_id = $1", subject)
    return str(name).removeprefix("billing.usage_")


async def put(usages: Usages, at: datetime) -> str:
    await usages.turn(at)
    row = Usage(subject_id=new_id(), series=series())
    await usages.record(row)
    return await home(usages.conn, row.subject_id)


async def test_months_are_made_once_by_any_number_at_once(usages: Usages, pool: Pool) -> None:
    await usages.turn(datetime(2031, 11, 30, 23, 59, tzinfo=UTC))

    async def make() -> int:
        async with pool.acquire() as conn, conn.transaction():
            return await add_months(conn, ahead=2)

    assert sum(await asyncio.gather(*(make() for _ in range(8)))) == 3
    assert {"2031_11", "2031_12", "2032_01"} <= set(await months(usages.conn))


async def test_a_row_goes_to_the_month_of_its_moment(usages: Usages) -> None:
    await usages.turn(datetime(2031, 1, 31, 12, tzinfo=UTC))
    await add_months(usages.conn, ahead=1)
    assert await put(usages, datetime(2031, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == "2031_01"
    assert await put(usages, datetime(2031, 2, 1, tzinfo=UTC)) == "2031_02"


async def test_a_month_that_nobody_made_is_kept_and_stays_where_it_is(usages: Usages) -> None:
    assert await put(usages, datetime(1999, 1, 1, tzinfo=UTC)) == "default"
    assert await add_months(usages.conn, ahead=0) == 0
    assert "1999_01" not in await months(usages.conn)
    assert await put(usages, datetime(1999, 1, 2, tzinfo=UTC)) == "default"
    assert await usages.roll_up() == 2


async def test_a_month_is_made_while_others_write(usages: Usages, pool: Pool) -> None:
    """Writers of a month that exists do not wait for one that is being made."""
    await usages.turn(START)
    await add_months(usages.conn, ahead=0)
    async with pool.acquire() as other:
        making = other.transaction()
        await making.start()
        await other.fetchval("SELECT billing.add_usage_month('2040-01-01')")
        assert await put_quickly(usages) == "2026_03"
        await making.rollback()
    assert "2040_01" not in await months(usages.conn)


async def put_quickly(usages: Usages) -> str:
    row = Usage(subject_id=new_id(), series=series())
    async with asyncio.timeout(3):
        await usages.record(row)
    return str(
        await usages.conn.fetchval(
            "SELECT tableoid::regclass::text FROM ONLY billing.usage_2026_03 WHERE subject_id = $1", row.subject_id
        )
    ).removeprefix("billing.usage_")
