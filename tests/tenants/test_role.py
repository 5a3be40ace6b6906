"""The role and the customer of a transaction: what is seen, what is refused, and that nothing of them outlives it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

from billing.kit.pool import APP_ROLE, as_platform, open_pool, tenant, transact
from billing.kit.query import Conn, Pool
from tests.jobs.shop import Shop, open_shop
from tests.tenants.watch import TENANT, Watch

ACTING = "SELECT current_user || ' ' || coalesce(current_setting('tallylight.tenant', true), '')"


@pytest.fixture
async def one_connection(dsn: str) -> AsyncIterator[Pool]:
    """As the processes open theirs, so that whoever comes next gets the same connection."""
    async with await open_pool(dsn, name="tests", size_min=1, size_max=1, role=APP_ROLE) as pool:
        yield pool


@pytest.fixture
async def shops(database: Conn) -> list[Shop]:
    opened = [await open_shop(database, name) for name in ("ada", "bob")]
    for shop in opened:
        held = await shop.running()
        await shop.settle(shop.delivered(held))
    return opened


async def visible(conn: Conn, table: str) -> set[str]:
    return {row[0] for row in await conn.fetch("SELECT t::text FROM " + table + " t")}  # names from the catalogue


async def granted(conn: Conn) -> list[str]:
    rows = await conn.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('gateway', 'billing') AND c.relrowsecurity AND has_table_privilege($1, c.oid, 'SELECT')",
        TENANT,
    )
    return [row["name"] for row in rows]


async def test_each_row_has_one_owner(one_connection: Pool, database: Conn, shops: list[Shop]) -> None:
    """In every table a tenant may read: what one sees the other does not, and nobody in particular sees nothing."""
    everybodys = {"billing.rate_card"}
    filled = 0
    for table in await granted(database):
        seen: list[set[str]] = []
        for shop in shops:
            async with tenant(one_connection, shop.org_id, readonly=True) as conn:
                seen.append(await visible(conn, table))
        async with database.transaction():
            await database.execute("SET LOCAL ROLE " + TENANT)
            nobody = await visible(database, table)
        ada, bob = seen
        assert ada & bob == nobody and (not nobody or table in everybodys), table
        assert ada | bob <= await visible(database, table)
        filled += bool(ada and bob)
    assert filled >= 11  # organization, project, job, customer, wallet, grant, balance, entry, transfer, series, usage


async def test_a_statement_without_a_condition_stays_within(one_connection: Pool, database: Conn, shops: list[Shop]) -> None:
    ada, bob = shops
    async with tenant(one_connection, ada.org_id) as conn:
        assert await conn.execute("UPDATE gateway.project SET name = 'taken'") == "UPDATE 1"
        assert await conn.execute("DELETE FROM gateway.member") == "DELETE 0"
    for sql in (
        "INSERT INTO gateway.member (org_id, id, email, role) VALUES ($1, gen_random_uuid(), 'a@b.c', 'owner')",
        "UPDATE gateway.project SET org_id = $1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with tenant(one_connection, ada.org_id) as conn:
                await conn.execute(sql, bob.org_id)
    names = await database.fetch("SELECT name FROM gateway.project ORDER BY name")
    assert [row["name"] for row in names] == ["default", "taken"]


async def test_money_moves_as_the_platform_for_what_the_tenant_found(one_connection: Pool, shops: list[Shop]) -> None:
    async with tenant(one_connection, shops[0].org_id) as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with conn.transaction():
                await conn.execute("SELECT FROM billing.hold")
        async with as_platform(conn):
            assert (await conn.fetchval(ACTING)).startswith(APP_ROLE)
            await conn.execute("SELECT FROM billing.hold")
        assert (await conn.fetchval(ACTING)).startswith(TENANT)
        with pytest.raises(asyncpg.UndefinedTableError):  # and not an error about the role behind it
            async with as_platform(conn):
                await conn.execute("SELECT FROM nowhere")
    assert await acting(one_connection) == f"{APP_ROLE} "


async def acting(pool: Pool) -> str:
    async with pool.acquire(timeout=5) as conn:
        assert not conn.is_in_transaction()
        return await conn.fetchval(ACTING)


class Refused(Exception):
    pass


async def refuses(_: Conn) -> None:
    raise Refused


async def fails(conn: Conn) -> None:
    await conn.execute("SELECT 1 / 0")


async def waits(conn: Conn) -> None:
    await conn.execute("SELECT pg_sleep(60)")


async def is_cut(conn: Conn) -> None:
    await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")


ENDS: list[tuple[Callable[[Conn], Awaitable[None]], type[BaseException]]] = [
    (refuses, Refused),
    (fails, asyncpg.DivisionByZeroError),
    (is_cut, asyncpg.PostgresError),
    (waits, asyncio.CancelledError),
]


async def test_nothing_outlives_the_transaction(one_connection: Pool, database: Conn, shops: list[Shop]) -> None:
    """Whether it succeeds, is refused, fails, is cancelled while the server works, or loses its connection."""
    org_id = shops[0].org_id
    assert await transact(one_connection, lambda conn: conn.fetchval(ACTING), of=org_id) == f"{TENANT} {org_id}"
    assert await acting(one_connection) == f"{APP_ROLE} "
    for work, error in ENDS:
        task = asyncio.create_task(transact(one_connection, work, of=org_id))
        if work is waits:
            await sleeping(database)
            task.cancel()
        with pytest.raises((error, asyncpg.InterfaceError) if work is is_cut else error):
            await task
        assert await acting(one_connection) == f"{APP_ROLE} ", work
    async with one_connection.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM gateway.project") == 2


async def sleeping(database: Conn) -> None:
    """Returns once some session sleeps in a statement."""
    async with asyncio.timeout(10):
        while not await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0.01)


async def test_a_tenant_costs_one_message(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the two of the transaction; what is not one tenant's pays nothing."""
    watch = Watch(monkeypatch)

    async def look(conn: Conn) -> int:
        return await conn.fetchval("SELECT 1")

    async with await open_pool(dsn, name="tests", size_min=1, size_max=1, role=APP_ROLE) as pool:
        counts: list[int] = []
        for of in (None, UUID(int=1)):
            before = watch.count
            await transact(pool, look, of=of)
            await asyncio.sleep(0)  # asyncpg tells of a statement in the loop's next round
            counts.append(watch.count - before)
    assert counts == [3, 4]
