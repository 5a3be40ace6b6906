"""The trail from the command line."""

import asyncio
import json
from uuid import UUID

import asyncpg

from billing.kit.pool import open_pool
from gateway.audit.model import Action, Actor
from gateway.audit.record import record
from tests.cli.test_commands import run


async def remember(dsn: str, org_id: UUID) -> None:
    async with await open_pool(dsn, name="tests") as pool, pool.acquire() as conn, conn.transaction():
        ann = Actor("member", "m1", "ann@example.com")
        await record(
            conn,
            Action(org_id=org_id, actor=ann, name="key.create", object_id="k1", after={"name": "ci"}),
            Action(org_id=org_id, actor=ann, name="quota.set", object_id="q1", refused="forbidden"),
        )


async def forge(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute("ALTER TABLE gateway.audit_entry DISABLE TRIGGER audit_append_only")
    await conn.execute("UPDATE gateway.audit_entry SET refused = NULL WHERE refused IS NOT NULL")
    await conn.close()


def test_a_trail_is_listed_and_proven(dsn: str) -> None:
    (org,) = json.loads(run("orgs", "create", "acme", "--json", dsn=dsn).stdout)
    before = len(json.loads(run("audit", "list", "--org", "acme", "--json", dsn=dsn).stdout))
    asyncio.run(remember(dsn, UUID(org["id"])))
    entries = json.loads(run("audit", "list", "--org", "acme", "--after", str(before), "--json", dsn=dsn).stdout)
    assert [(one["action"], one["refused"], one["after"], one["actor"]["name"]) for one in entries] == [
        ("key.create", None, {"name": "ci"}, "ann@example.com"),
        ("quota.set", "forbidden", None, "ann@example.com"),
    ]
    assert "forbidden" in run("audit", "list", "--org", "acme", "--refused", dsn=dsn).stdout
    assert "forbidden" not in run("audit", "list", "--org", "acme", "--done", "--action", "key", dsn=dsn).stdout
    head = run("audit", "head", "--org", "acme", dsn=dsn).stdout.strip()
    for flags in ((), ("--org", "acme"), ("--org", "acme", "--head", head)):
        assert run("audit", "verify", *flags, dsn=dsn).stdout.strip() == "the trail is sound"
    assert run("audit", "verify", "--head", head, dsn=dsn).returncode == 2
    assert run("audit", "verify", "--org", "acme", "--head", "1", dsn=dsn).returncode == 2
    asyncio.run(forge(dsn))
    found = run("audit", "verify", "--json", dsn=dsn)
    assert found.returncode == 1 and json.loads(found.stdout)["findings"][0]["rule"] == "trail_is_unchanged"


def test_the_platforms_own_actions_stand_in_a_trail_of_its_own(dsn: str) -> None:
    assert run("prices", "publish", dsn=dsn).returncode == 0
    entries = json.loads(run("audit", "list", "--action", "prices", "--json", dsn=dsn).stdout)
    assert {entry["after"]["currency"] for entry in entries} == {"CNY", "USD"}
    assert {entry["actor"]["kind"] for entry in entries} == {"operator"}
