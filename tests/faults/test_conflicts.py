"""Serialization failures and deadlocks, raised by PostgreSQL itself in every table a job's life writes to: no client sees one.

A trigger raises them. It counts with a sequence, which a rollback does not turn back.
"""

import httpx
import pytest

from billing.kit.query import Conn
from gateway.video import parse_public_id
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.workshop import Workshop

CHARGE_MICRO = 125 * RATE_MICRO // 1000
BODY = {"model": "testcard", "prompt": "a lamp", "size": "128x72", "fps": 16, "frames": 2}
OF_EVERY_JOB = {
    *("gateway.job", "gateway.job_event", "gateway.attempt", "gateway.idempotency"),
    *("billing.hold", "billing.balance", "billing.transfer", "billing.entry"),
}
RAISED = 2
"""How often in a row; five repetitions are the budget."""


async def tables(conn: Conn) -> list[str]:
    """Those that hold rows: of a partitioned one, its partitions."""
    rows = await conn.fetch(
        "SELECT n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('billing', 'gateway') AND c.relkind = 'r' ORDER BY 1"
    )
    return [row["name"] for row in rows]


async def arm(conn: Conn, code: str, when: str) -> list[str]:
    """A trigger on every table, which raises as long as the table's sequence is not past RAISED. Returns the tables."""
    await conn.execute(f"""
        CREATE SCHEMA conflict;
        CREATE FUNCTION conflict.raise_it() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF nextval('conflict.' || TG_TABLE_SCHEMA || '_' || TG_TABLE_NAME) <= {RAISED} THEN
                RAISE EXCEPTION 'injected' USING ERRCODE = '{code}';
            END IF;
            RETURN NULL;
        END $$""")
    names = await tables(conn)
    for name in names:
        await conn.execute(f"CREATE SEQUENCE {sequence(name)}")
        await quiet(conn, name)
        await conn.execute(
            f"CREATE CONSTRAINT TRIGGER conflict AFTER INSERT OR UPDATE ON {name} DEFERRABLE INITIALLY {when}"
            " FOR EACH ROW EXECUTE FUNCTION conflict.raise_it()"
        )
    return names


async def quiet(conn: Conn, name: str) -> None:
    await conn.execute(f"SELECT setval('{sequence(name)}', {RAISED})")


async def loud(conn: Conn, name: str) -> None:
    await conn.execute(f"SELECT setval('{sequence(name)}', 1, false)")


async def count(conn: Conn, name: str) -> int:
    """Of rows written, RAISED of a quiet table apart."""
    return await conn.fetchval(f"SELECT last_value FROM {sequence(name)}")


def sequence(name: str) -> str:
    return f"conflict.{name.replace('.', '_')}"


@pytest.mark.parametrize("code, when", [("40001", "DEFERRED"), ("40P01", "IMMEDIATE")])
async def test_no_client_sees_a_conflict(workshop: Workshop, code: str, when: str) -> None:
    """Deferred, it is raised by COMMIT; immediate, by the statement. Each table that a job writes to has its turn."""
    async with workshop.pool.acquire() as conn:
        every_table = await arm(conn, code, when)
    async with (
        workshop.serving() as url,
        workshop.clerking(),
        workshop.dispatching(),
        httpx.AsyncClient(headers={"authorization": f"Bearer {workshop.account.live}"}, trust_env=False, timeout=30) as client,
    ):

        async def live_through(key: str) -> None:
            answer = await client.post(f"{url}/v1/jobs", json=BODY, headers={"idempotency-key": key})
            assert answer.status_code == 201, (key, answer.text)
            job_id = parse_public_id(answer.json()["id"])
            assert job_id is not None
            assert (await workshop.ended(job_id))["state"] == "succeeded", key

        await live_through("in peace")
        async with workshop.pool.acquire() as conn:
            written = [name for name in every_table if await count(conn, name) > RAISED]
        raised: set[str] = set()
        for name in written:
            async with workshop.pool.acquire() as conn:
                await loud(conn, name)
            await live_through(name)
            async with workshop.pool.acquire() as conn:
                if await count(conn, name) > RAISED:  # what the clerk writes to now and then need not have had its turn
                    raised.add(name)
                await quiet(conn, name)
    assert raised >= OF_EVERY_JOB
    assert await workshop.wallet() == (FUNDS_MICRO - (1 + len(written)) * CHARGE_MICRO, 0)


@pytest.mark.parametrize("code, when", [("40001", "DEFERRED"), ("40P01", "IMMEDIATE")])
async def test_no_client_that_cancels_sees_a_conflict(workshop: Workshop, code: str, when: str) -> None:
    """Nobody dispatches, so the jobs wait; their table raises until it has raised enough."""
    doors = ("POST", "/v1/jobs/{}/cancel"), ("DELETE", "/v1/videos/{}"), ("DELETE", "/api/v3/contents/generations/tasks/{}")
    async with workshop.pool.acquire() as conn:
        await arm(conn, code, when)
    async with (
        workshop.serving() as url,
        httpx.AsyncClient(headers={"authorization": f"Bearer {workshop.account.live}"}, trust_env=False, timeout=30) as client,
    ):
        for method, path in doors:
            job = (await client.post(f"{url}/v1/jobs", json=BODY)).json()["id"]
            async with workshop.pool.acquire() as conn:
                await loud(conn, "gateway.job")
            answer = await client.request(method, url + path.format(job))
            assert answer.status_code == 200, (path, answer.text)
            async with workshop.pool.acquire() as conn:
                assert await count(conn, "gateway.job") > RAISED, path
                assert await conn.fetchval("SELECT state FROM gateway.job WHERE id = $1", parse_public_id(job)) == "cancelled", (
                    path
                )
    assert await workshop.wallet() == (FUNDS_MICRO, 0)
