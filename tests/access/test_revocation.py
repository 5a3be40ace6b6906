"""A revoked key is dead on every replica: at once where the listener tells, by age where it cannot, and never alive in doubt."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from billing.kit.listen import Listener
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool
from gateway.access.authenticate import Authenticator
from gateway.access.keys import change_key, issue_key, read_key
from gateway.access.organizations import open_organization
from gateway.access.revoke import revoke_key, revoke_leaked
from gateway.access.rotate import rotate_key
from gateway.access.uses import KeyUses
from gateway.errors import Unauthenticated

HOUR_S = 3600.0
REPLICAS = 3


class Lock:
    """A key with its secret."""

    def __init__(self, org_id: UUID, key_id: UUID, token: str) -> None:
        self.org_id, self.key_id, self.token = org_id, key_id, token


@pytest.fixture
async def lock(database: Conn) -> Lock:
    opened = await open_organization(database, "acme", "CNY")
    return Lock(opened.id, *await issue_key(database, opened.id, name="k", livemode=True))


@asynccontextmanager
async def replicas(pool: Pool, dsn: str, token: str) -> AsyncGenerator[list[Authenticator]]:
    """Replicas that listen and that, by themselves, would believe what they have read for an hour; all know the token."""
    async with AsyncExitStack() as stack:
        made: list[Authenticator] = []
        for _ in range(REPLICAS):
            replica, ready = Authenticator(pool, KeyUses(pool), ttl_s=HOUR_S), asyncio.Event()
            channels = {"tallylight_keys": replica.forget, "tallylight_events": lambda _, ready=ready: ready.set()}
            listener = Listener(dsn, channels)
            listener.start()
            stack.push_async_callback(listener.close)
            await asyncio.wait_for(ready.wait(), 10)
            await replica.caller(token)
            made.append(replica)
        yield made


async def dead(replica: Authenticator, token: str) -> None:
    """Returns once the token is refused; bounded by ten seconds."""
    async with asyncio.timeout(10):
        while True:
            try:
                await replica.caller(token)
            except Unauthenticated:
                return
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("way", ["revoked", "leaked", "rotated", "expired", "by hand"])
async def test_every_replica_is_told_however_a_key_ends(database: Conn, pool: Pool, dsn: str, lock: Lock, way: str) -> None:
    async with replicas(pool, dsn, lock.token) as told:
        key = await read_key(database, lock.org_id, lock.key_id)
        match way:
            case "revoked":
                await revoke_key(database, lock.org_id, lock.key_id)
            case "leaked":
                await revoke_leaked(database, [lock.token])
            case "rotated":
                await rotate_key(database, lock.org_id, key, overlap_s=0)
            case "expired":
                await database.execute("UPDATE gateway.api_key SET expires_at = billing.now()")
            case _:
                await database.execute("UPDATE gateway.api_key SET revoked_at = now(), revoked_because = 'asked'")
        for replica in told:
            await dead(replica, lock.token)


async def test_a_replica_that_is_not_told_finds_out_by_age(database: Conn, pool: Pool, lock: Lock) -> None:
    replica = Authenticator(pool, KeyUses(pool), ttl_s=0.2)
    await replica.caller(lock.token)
    await revoke_key(database, lock.org_id, lock.key_id)
    await dead(replica, lock.token)


async def test_nothing_is_believed_that_cannot_be_read_again(dsn: str, lock: Lock) -> None:
    """The database is away: what is of age is refused, not prolonged."""
    async with await open_pool(dsn, name="tests", size_min=1, size_max=1) as pool:
        replica = Authenticator(pool, KeyUses(pool), ttl_s=0)
        await replica.caller(lock.token)
        await pool.close()
        with pytest.raises(asyncpg.InterfaceError):
            await replica.caller(lock.token)


async def test_an_answer_under_way_while_the_key_changes_is_not_kept(database: Conn, pool: Pool, lock: Lock) -> None:
    replica = Authenticator(pool, KeyUses(pool), ttl_s=HOUR_S)
    under_way = asyncio.ensure_future(replica.caller(lock.token))
    await asyncio.sleep(0)
    replica.forget(str(lock.key_id))
    await under_way
    await revoke_key(database, lock.org_id, lock.key_id)
    with pytest.raises(Unauthenticated):
        await replica.caller(lock.token)


async def test_a_restriction_holds_wherever_the_key_is_known(database: Conn, pool: Pool, dsn: str, lock: Lock) -> None:
    import msgspec

    from gateway.access.restrictions import Restrictions

    async with replicas(pool, dsn, lock.token) as told:
        key = await read_key(database, lock.org_id, lock.key_id)
        tightened = msgspec.structs.replace(key.settings(), restrictions=Restrictions(seconds_max=1))
        await change_key(database, lock.org_id, key, tightened)
        for replica in told:
            async with asyncio.timeout(10):
                while (await replica.caller(lock.token)).restrictions != Restrictions(seconds_max=1):
                    await asyncio.sleep(0.001)
