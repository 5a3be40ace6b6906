"""Roll-up: no row is lost or counted twice, whoever writes, waits, dies or rolls up meanwhile."""

import asyncio
import random

import asyncpg
import msgspec
import pytest

from billing.charges.model import Usage
from billing.charges.record import record
from billing.charges.rollup import roll_up
from billing.kit.ids import new_id
from billing.kit.query import Conn, Pool
from tests.billing.charges.book import Usages, series, some_row, some_usage


async def rolled(conn: Conn) -> tuple[int, int]:
    """(rows, net) of the roll-up."""
    row = await conn.fetchrow(
        "SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(net_micro), 0)::bigint FROM billing.usage_rollup WHERE width_s = 900"
    )
    assert row is not None
    return row[0], row[1]


async def whole(conn: Conn) -> tuple[tuple[int, int], tuple[int, int]]:
    """(rows, net) of all usage, and of roll-up and tail together, in one snapshot."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        truth = await conn.fetchrow("SELECT count(*), coalesce(sum(net_micro), 0)::bigint FROM billing.usage")
        tail = await conn.fetchrow(
            "SELECT count(*), coalesce(sum(net_micro), 0)::bigint FROM billing.usage WHERE xid >= billing.usage_through()"
        )
        assert truth is not None and tail is not None
        rows, net = await rolled(conn)
        return (truth[0], truth[1]), (rows + tail[0], net + tail[1])


async def test_every_row_is_added_once(usages: Usages) -> None:
    await usages.record(some_row(), some_row(7))
    assert await usages.roll_up() == 2
    assert await usages.roll_up() == 0
    await usages.record(some_row(9))
    assert await usages.roll_up() == 1
    assert await rolled(usages.conn) == (3, 21)


async def test_a_long_transaction_is_waited_for_and_its_rows_come_later(usages: Usages, pool: Pool) -> None:
    async with pool.acquire() as other:
        slow = other.transaction()
        await slow.start()
        await record(other, [some_row(1, "film")])
        await usages.record(some_row(2))  # a younger transaction that ends first
        assert await usages.roll_up() == 0
        assert await whole(usages.conn) == ((1, 2), (1, 2))
        await slow.commit()
    assert await whole(usages.conn) == ((2, 3), (2, 3))
    assert await usages.roll_up() == 2
    assert await rolled(usages.conn) == (2, 3)


async def test_rows_of_a_transaction_that_fails_are_nowhere(usages: Usages, pool: Pool) -> None:
    async with pool.acquire() as other:
        doomed = other.transaction()
        await doomed.start()
        await record(other, [some_row()])
        await doomed.rollback()
    assert await usages.roll_up() == 0
    assert await rolled(usages.conn) == (0, 0)


async def test_a_roll_up_that_dies_leaves_no_trace(usages: Usages, pool: Pool) -> None:
    await usages.record(some_row(), some_row())
    async with pool.acquire() as other:
        dying = other.transaction()
        await dying.start()
        assert await roll_up(other) == 2
        assert await usages.roll_up() == 0  # another one is at it
        await dying.rollback()
    assert await rolled(usages.conn) == (0, 0)
    assert await usages.roll_up() == 2


async def test_a_roll_up_in_an_old_snapshot_is_refused(usages: Usages, pool: Pool) -> None:
    async with pool.acquire() as other, other.transaction(isolation="repeatable_read"):
        await other.execute("SELECT 1")
        await usages.record(some_row())
        assert await usages.roll_up() == 1
        await usages.record(some_row())
        assert await roll_up(other) == 0  # it sees neither row
    assert await whole(usages.conn) == ((2, 10), (2, 10))


@pytest.mark.parametrize("rows_max", [1, 2, 3, 7])
async def test_bounded_work_keeps_a_transaction_together(usages: Usages, rows_max: int) -> None:
    for size in (3, 1, 4, 1, 5):
        await usages.record(*[some_row() for _ in range(size)])
    done = []
    while added := await usages.roll_up(rows_max):
        done.append(added)
    assert sum(done) == 14 and len(done) > 1 and max(done) < rows_max + 5
    assert await whole(usages.conn) == ((14, 70), (14, 70))


async def test_a_restored_database_begins_anew(usages: Usages) -> None:
    """In another cluster transaction ids count from the start: the mark of the old one must not hide new rows."""
    await usages.record(some_row())
    await usages.roll_up()
    await usages.conn.execute("UPDATE billing.usage_mark SET cluster = 1, through = '4000000000'")
    await usages.record(some_row())
    assert (await whole(usages.conn))[0] == (2, 10)
    assert await usages.conn.fetchval("SELECT billing.usage_through()") == 0
    assert await usages.roll_up() == 2
    assert await rolled(usages.conn) == (2, 10)


@pytest.mark.parametrize("seed", range(3))
async def test_writers_and_roll_ups_at_once(usages: Usages, pool: Pool, seed: int) -> None:
    """At every moment, in every snapshot, roll-up and tail are all there is."""
    choose = random.Random(seed)
    writing = 4

    async def write(number: int) -> None:
        nonlocal writing
        own = random.Random(seed * 100 + number)
        async with pool.acquire() as conn:
            for _ in range(25):
                attempt = conn.transaction()
                await attempt.start()
                await record(conn, [some_usage(own) for _ in range(own.randrange(1, 9))])
                await (attempt.rollback() if own.random() < 0.2 else attempt.commit())
        writing -= 1

    async def roll() -> None:
        async with pool.acquire() as conn:
            while writing:
                attempt = conn.transaction()
                await attempt.start()
                await roll_up(conn, rows_max=choose.choice([1, 10, 1000]))
                await (attempt.rollback() if choose.random() < 0.3 else attempt.commit())

    async def look() -> None:
        async with pool.acquire() as conn:
            while writing:
                truth, together = await whole(conn)
                assert truth == together

    await asyncio.gather(*(write(number) for number in range(writing)), roll(), roll(), look())
    while await usages.roll_up(10):
        pass
    truth, together = await whole(usages.conn)
    assert truth == together == await rolled(usages.conn)


async def test_usage_is_never_changed(usages: Usages) -> None:
    await usages.record(some_row())
    (partition,) = await usages.conn.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM billing.usage")
    for table in ("billing.usage", "billing.usage_series", partition["name"]):
        for change in ("DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await usages.conn.execute(change.format(table))
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await usages.conn.execute("UPDATE billing.usage SET net_micro = 0")


async def test_labels_are_one_series_in_whatever_order_they_came(usages: Usages) -> None:
    labels = {"team": "a", "app": "b", "月": "十一月", "order": "1"}
    backwards = dict(reversed(labels.items()))
    await usages.record(*[Usage(subject_id=new_id(), series=series(labels=one)) for one in (labels, backwards)])
    (stored,) = await usages.conn.fetch("SELECT labels FROM billing.usage_series")
    assert msgspec.json.decode(stored["labels"]) == labels
