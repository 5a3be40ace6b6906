"""The registry: who declares what, what operators may want, and that a change is heard."""

import asyncio
from typing import Any

import pytest

from billing.kit.query import Conn, Pool
from gateway.errors import InvalidRequest, NotFound, ReplicaConflict
from gateway.fleet.registry.change import change, quarantine, release_probed
from gateway.fleet.registry.declare import declare, register
from gateway.fleet.registry.model import Sight
from gateway.fleet.registry.read import follow, list_replicas, read_replica
from gateway.fleet.registry.sight import note_sights
from gateway.settings import ReplicaSettings

CATALOGUE = {"a", "b"}


def server(name: str, **changes: Any) -> ReplicaSettings:
    given: dict[str, Any] = {"name": name, "url": "h:1", "models": ("a",)} | changes
    return ReplicaSettings(**given)


async def states(conn: Conn) -> dict[str, tuple[str, str, int]]:
    rows = [await read_replica(conn, row["name"]) for row in await conn.fetch("SELECT name FROM gateway.replica")]
    return {row.name: (row.source, row.state, row.version) for row in rows}


async def test_a_source_declares_all_it_has_and_touches_no_other(database: Conn) -> None:
    await register(database, server("by-hand"), CATALOGUE)
    one, two = server("one", models=("a", "b"), slots=3), server("two")
    assert await declare(database, "config", [one, two], whole=True) == ["one", "two"]
    assert await declare(database, "config", [one, two], whole=True) == []
    assert sorted(await declare(database, "config", [server("one", slots=9)], whole=True)) == ["one", "two"]
    assert await states(database) == {
        "by-hand": ("api", "active", 1), "one": ("config", "active", 2), "two": ("config", "removed", 2),
    }  # fmt: skip
    assert [row.name for row in await follow(database)] == ["by-hand", "one"]
    assert await declare(database, "kubernetes", [server("one"), server("two")], whole=True) == ["two"]  # a removed name is free
    assert (await states(database))["two"] == ("kubernetes", "active", 3)
    await declare(database, "config", [], whole=True)
    assert [row.name for row in await follow(database)] == ["by-hand", "two"]


async def test_a_declaration_does_not_undo_what_operators_want(database: Conn) -> None:
    await declare(database, "config", [server("one")], whole=True)
    await change(database, "one", "cordon")
    await change(database, "one", "quarantine", "it smells")
    await declare(database, "config", [server("one", slots=2)], whole=True)
    row = await read_replica(database, "one")
    assert (row.state, row.slots, row.quarantine_reason) == ("cordoned", 2, "it smells")


@pytest.mark.parametrize(
    "verbs,state",
    [
        (["cordon"], "cordoned"),
        (["cordon", "cordon"], "cordoned"),
        (["cordon", "uncordon"], "active"),
        (["cordon", "drain"], "draining"),
        (["drain", "uncordon"], "active"),
        (["drain", "cordon"], ReplicaConflict),
        (["drain", "remove"], "removed"),
        (["remove", "remove"], "removed"),
        (["remove", "cordon"], ReplicaConflict),
        (["remove", "uncordon"], ReplicaConflict),
        (["uncordon"], "active"),
    ],
)
async def test_what_operators_may_want(database: Conn, verbs: list[Any], state: Any) -> None:
    await register(database, server("one"), CATALOGUE)
    *before, last = verbs
    for verb in before:
        await change(database, "one", verb)
    if isinstance(state, str):
        assert (await change(database, "one", last)).state == state
    else:
        with pytest.raises(state):
            await change(database, "one", last)


async def test_registering_by_hand(database: Conn) -> None:
    first = await register(database, server("one"), CATALOGUE)
    assert await register(database, server("one"), CATALOGUE) == first
    assert (await register(database, server("one", url="h:2"), CATALOGUE)).version == 2
    await change(database, "one", "remove")
    assert (await register(database, server("one"), CATALOGUE)).state == "active"
    with pytest.raises(InvalidRequest, match="no model z"):
        await register(database, server("two", models=("a", "z")), CATALOGUE)
    await declare(database, "config", [server("three")], whole=True)
    with pytest.raises(ReplicaConflict, match="declared by the settings"):
        await register(database, server("three"), CATALOGUE)
    with pytest.raises(ReplicaConflict, match="take it out there"):
        await change(database, "three", "remove")
    with pytest.raises(NotFound):
        await change(database, "four", "cordon")


async def test_a_quarantine_has_a_reason_and_an_operators_is_ended_by_hand_alone(database: Conn) -> None:
    await register(database, server("one"), CATALOGUE)
    with pytest.raises(InvalidRequest, match="needs a reason"):
        await change(database, "one", "quarantine")
    assert await quarantine(database, "one", "a job did not stop")
    assert not await quarantine(database, "one", "another did not either")
    row = await read_replica(database, "one")
    assert (row.quarantine_reason, row.quarantined_by) == ("a job did not stop", "dispatcher")
    assert not await release_probed(database, "one", row.version - 1)
    assert await release_probed(database, "one", row.version)
    await quarantine(database, "one", "again")
    row = await change(database, "one", "quarantine", "I look at it")
    assert not await release_probed(database, "one", row.version)
    assert (await change(database, "one", "release")).quarantine_reason is None


async def test_what_was_seen_is_shown_while_it_is_fresh(database: Conn) -> None:
    await register(database, server("one"), CATALOGUE)
    await register(database, server("two"), CATALOGUE)
    sights = [Sight(name, "up", "", ("a",), (), 1) for name in ("one", "two")]
    await note_sights(database, sights)
    await change(database, "two", "remove")
    assert [(row.name, row.running) for row in await list_replicas(database)] == [("one", 1), ("two", 1)]  # it still runs a job
    await note_sights(database, sights[:1])
    assert [row.name for row in await list_replicas(database)] == ["one"]
    await database.execute("UPDATE gateway.replica_sight SET seen_at = seen_at - interval '1 minute'")
    assert [row.condition for row in await list_replicas(database)] == [None]


async def test_every_change_is_announced_and_nothing_else(pool: Pool) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with pool.acquire() as ear, pool.acquire() as conn:
        await ear.add_listener("tallylight_fleet", lambda *_: heard.put_nowait("change"))
        for work in (
            lambda: register(conn, server("one"), CATALOGUE),
            lambda: change(conn, "one", "cordon"),
            lambda: quarantine(conn, "one", "x"),
            lambda: change(conn, "one", "release"),
            lambda: declare(conn, "api", [], whole=True),
        ):
            await work()
            async with asyncio.timeout(5):
                assert await heard.get() == "change"
            await work()
        await conn.execute("SELECT pg_notify('tallylight_fleet', '')")
        async with asyncio.timeout(5):
            await heard.get()
        assert heard.empty()  # the repetitions changed nothing
        await ear.reset()
