"""The trail of an organization: complete, in order, without secrets, and not to be changed unseen."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from billing.kit.ids import new_id
from billing.kit.pool import APP_ROLE, open_pool
from billing.kit.query import Conn, Pool
from billing.ledger.chain import Head
from gateway.audit.model import Action, Actor, Facts, Origin
from gateway.audit.read import Sought, entries_after
from gateway.audit.record import record
from gateway.audit.verify import head_of, verify_trail, verify_trails

ANN = Actor("member", "mem_1", "ann@example.com")
BOT = Actor("key", "key_1", "terraform")


def done(org_id: UUID, name: str = "key.create", after: Facts | None = None, **more: Any) -> Action:
    return Action(
        org_id=org_id,
        actor=more.pop("actor", ANN),
        name=name,
        object_id="k1",
        after=after,
        origin=Origin("192.0.2.7", "req_1"),
        **more,
    )


async def add(conn: Conn, *actions: Action) -> None:
    async with conn.transaction():
        await record(conn, *actions)


async def test_it_says_who_did_what_from_where_and_can_be_searched(database: Conn) -> None:
    org, other = new_id(), new_id()
    await add(database, done(org, after={"name": "ci"}), done(other))
    await add(database, done(org, "key.revoke", before={"name": "ci"}, actor=BOT), done(org, "quota.set", refused="forbidden"))

    everything = await entries_after(database, org, 0, Sought())
    assert [(entry.position, entry.action, entry.refused) for entry in everything] == [
        (1, "key.create", None), (2, "key.revoke", None), (3, "quota.set", "forbidden")
    ]  # fmt: skip
    assert (everything[0].address, everything[0].request_id, everything[0].after) == ("192.0.2.7", "req_1", '{"name": "ci"}')

    async def positions(**want: Any) -> list[int]:
        return [entry.position for entry in await entries_after(database, org, 0, Sought(**want))]

    assert await positions(action="key") == [1, 2] and await positions(action="key.revoke") == [2]
    assert await positions(actor_id="key_1") == [2] and await positions(refused=True) == [3]
    assert await positions(object_id="k1") == [1, 2, 3] and await positions(object_id="k2") == []
    assert await positions(since=everything[1].at) == [2, 3] and await positions(until=everything[1].at) == [1]
    assert [entry.position for entry in await entries_after(database, org, 1, Sought(), limit=1)] == [2]


async def test_what_was_rolled_back_never_was(database: Conn) -> None:
    org = new_id()
    transaction = database.transaction()
    await transaction.start()
    await record(database, done(org))
    await transaction.rollback()
    assert await entries_after(database, org, 0, Sought()) == []


async def test_many_at_once_stand_in_one_chain(pool: Pool) -> None:
    org = new_id()

    async def one() -> None:
        async with pool.acquire() as conn:
            await add(conn, done(org), done(org))

    await asyncio.gather(*(one() for _ in range(12)))
    async with pool.acquire() as conn:
        assert [entry.position for entry in await entries_after(conn, org, 0, Sought())] == list(range(1, 25))
        assert await verify_trails(conn) == []


@pytest.mark.parametrize(
    "secret", ["tl_live_abcdefghijklmnop", "Bearer abc.def-ghi", "postgresql://user:hunter2@db/x"]
)  # fmt: skip
async def test_no_secret_gets_in(database: Conn, secret: str) -> None:
    org = new_id()
    await add(database, done(org, after={"note": f"it was {secret}", "deep": [{"x": secret}]}, before={"note": secret}))
    (entry,) = await entries_after(database, org, 0, Sought())
    tail = secret[-7:]
    assert entry.before and entry.after and tail not in entry.before and tail not in entry.after.replace("@db/x", "")
    assert await verify_trail(database, org) == []


TAMPERED = {
    "changed": ("UPDATE gateway.audit_entry SET after = '{\"name\": \"x\"}' WHERE org_id = $1 AND position = 2", "trail_is_unchanged"),
    "blamed on another": ("UPDATE gateway.audit_entry SET actor = '{}' WHERE org_id = $1 AND position = 2", "trail_is_unchanged"),
    "moved in time": ("UPDATE gateway.audit_entry SET at = at + interval '1 us' WHERE org_id = $1 AND position = 2", "trail_is_unchanged"),
    "called done": ("UPDATE gateway.audit_entry SET refused = NULL WHERE org_id = $1 AND position = 3", "trail_is_unchanged"),
    "removed": ("DELETE FROM gateway.audit_entry WHERE org_id = $1 AND position = 2", "trail_is_numbered"),
    "turned around": ("UPDATE gateway.audit_entry SET position = 14 - position WHERE org_id = $1", "trail_is_numbered"),
    "put in": ("INSERT INTO gateway.audit_entry SELECT org_id, 5, at, actor, action, object_id, refused, before, after, address, request_id, digest FROM gateway.audit_entry WHERE org_id = $1 AND position = 4", "trail_is_unchanged"),
    "cut off": ("DELETE FROM gateway.audit_entry WHERE org_id = $1 AND position = 4", "trail_leads_through_the_kept_head"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
async def test_tampering_is_found(database: Conn, how: str) -> None:
    org = new_id()
    await add(database, done(org, after={"name": "a"}), done(org, after={"name": "b"}), done(org, refused="forbidden"), done(org))
    kept = await head_of(database, org)
    assert kept.position == 4 and await verify_trail(database, org, kept) == []
    statement, rule = TAMPERED[how]
    await database.execute("ALTER TABLE gateway.audit_entry DISABLE TRIGGER audit_append_only")
    await database.execute(statement, org)
    assert rule in {finding.rule for finding in await verify_trail(database, org, kept)}


async def test_a_head_that_never_was_is_no_head_of_it(database: Conn) -> None:
    org = new_id()
    await add(database, done(org))
    findings = await verify_trail(database, org, Head(1, bytes(31) + b"x"))
    assert [finding.rule for finding in findings] == ["trail_leads_through_the_kept_head"]


@pytest.mark.parametrize("statement", ["UPDATE gateway.audit_entry SET action = 'a.b'", "DELETE FROM gateway.audit_entry"])
async def test_the_processes_cannot_change_it(dsn: str, database: Conn, statement: str) -> None:
    await add(database, done(new_id()))
    async with await open_pool(dsn, name="app", role=APP_ROLE) as pool, pool.acquire() as conn:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
    with pytest.raises(asyncpg.RestrictViolationError):
        await database.execute(statement)
