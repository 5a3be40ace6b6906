"""The hash chain finds any changed, deleted, inserted or reordered row of history, one at a time."""

import asyncio

import pytest

from billing.kit.query import Conn, Pool
from billing.ledger.chain import Head, head, seal, verify_chain
from tests.billing.ledger.book import Ledger, open_ledger

ARMED = ("transfer", "entry", "seal")


async def sealed(conn: Conn, limit: int = 2000) -> int:
    async with conn.transaction():
        return await seal(conn, limit)


async def broken(conn: Conn, kept: Head | None = None) -> list[str]:
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return [finding.rule for finding in await verify_chain(conn, kept, batch=2)]


@pytest.fixture
async def history(damaged: Ledger) -> Ledger:
    """Seven sealed transfers, one without entries, and triggers that no longer stand in the way."""
    for amount in (10, 20, 30, 0, 5):
        await damaged.capture((await damaged.held(amount), amount))
    await damaged.top_up(7)
    assert await sealed(damaged.conn) == 7
    for table in ARMED:
        await damaged.conn.execute(f"ALTER TABLE billing.{table} DISABLE TRIGGER USER")
    assert await broken(damaged.conn) == []
    return damaged


CHANGES = {
    "transfer": {
        "id": "gen_random_uuid()", "kind": "CASE kind WHEN 'top_up' THEN 'payment' ELSE 'top_up' END", "subject_id": "gen_random_uuid()",
        "payload": "payload || '{\"x\": 1}'", "xid": "(xid::text::bigint + 1)::text::xid8", "created_at": "created_at + interval '1 microsecond'",
    },
    "entry": {
        "transfer_id": "gen_random_uuid()", "leg": "leg + 7", "account_id": "gen_random_uuid()", "asset": "'USD'", "amount": "amount * 2",
        "booked_at": "booked_at - interval '1 microsecond'",
    },
    "seal": {
        "position": "position + 100", "transfer_id": "gen_random_uuid()", "xid": "(xid::text::bigint - 1)::text::xid8",
        "digest": "sha256(digest)",
    },
}  # fmt: skip


async def places(conn: Conn, table: str) -> list[str]:
    return [row["place"] for row in await conn.fetch(f"SELECT ctid::text AS place FROM billing.{table}")]


@pytest.mark.parametrize("table", ARMED)
async def test_every_change_of_every_column_of_every_row_is_found(history: Ledger, table: str) -> None:
    conn = history.conn
    assert set(CHANGES[table]) == {
        row["name"]
        for row in await conn.fetch(
            "SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
            f"billing.{table}",
        )
    }
    kept = await head(conn)
    for place in await places(conn, table):
        for column, value in CHANGES[table].items():
            change = conn.transaction()
            await change.start()
            await conn.execute(f"UPDATE billing.{table} SET {column} = {value} WHERE ctid = $1::text::tid", place)
            assert await found(conn, kept), (place, column)
            await change.rollback()


@pytest.mark.parametrize("table", ARMED)
async def test_every_row_that_was_deleted_is_found(history: Ledger, table: str) -> None:
    kept = await head(history.conn)
    for place in await places(history.conn, table):
        change = history.conn.transaction()
        await change.start()
        await history.conn.execute(f"DELETE FROM billing.{table} WHERE ctid = $1::text::tid", place)
        assert await found(history.conn, kept), place
        await change.rollback()


async def found(conn: Conn, kept: Head) -> bool:
    return bool(await verify_chain(conn, kept))


@pytest.mark.parametrize(
    "what",
    [
        "INSERT INTO billing.transfer SELECT gen_random_uuid(), kind, subject_id, payload, xid, created_at FROM billing.transfer LIMIT 1",
        "INSERT INTO billing.transfer SELECT gen_random_uuid(), kind, subject_id, payload, '1'::xid8, created_at FROM billing.transfer LIMIT 1",
        "INSERT INTO billing.transfer SELECT gen_random_uuid(), kind, subject_id, payload, '9999999999'::xid8, created_at FROM billing.transfer LIMIT 1",
        "INSERT INTO billing.entry SELECT id, 9, gen_random_uuid(), 'CNY', 1, created_at FROM billing.transfer WHERE kind = 'top_up' LIMIT 1",
        "INSERT INTO billing.seal SELECT 0, xid, transfer_id, digest FROM billing.seal LIMIT 1",
        "INSERT INTO billing.seal SELECT 8, xid, transfer_id, digest FROM billing.seal LIMIT 1",
        "UPDATE billing.account SET path = path || 'x' WHERE path = 'revenue:usage:live:CNY'",
    ],
)
async def test_what_was_slipped_into_history_is_found(history: Ledger, what: str) -> None:
    await history.conn.execute(what)
    assert await broken(history.conn) != []


async def test_links_that_changed_places_are_found(history: Ledger) -> None:
    await history.conn.execute(
        "UPDATE billing.seal s SET transfer_id = o.transfer_id, xid = o.xid, digest = o.digest FROM billing.seal o"
        " WHERE (s.position, o.position) IN ((3, 4), (4, 3))"
    )
    assert "sealed_transfer_is_unchanged" in await broken(history.conn)


async def test_a_chain_resealed_in_another_order_is_found_without_a_kept_head(history: Ledger) -> None:
    """Whoever can compute the digests can also forge them; the order of the transactions still gives it away."""
    kept = await head(history.conn)
    rows = await history.conn.fetch("SELECT xid::text AS xid, transfer_id FROM billing.seal ORDER BY position DESC")
    await history.conn.execute("TRUNCATE billing.seal")
    await reseal(history.conn, [(row["xid"], row["transfer_id"]) for row in rows])
    assert await broken(history.conn, kept) == ["seals_are_in_order"] * 6 + ["chain_leads_through_the_kept_head"]


async def reseal(conn: Conn, order: list[tuple[str, object]]) -> None:
    from billing.ledger.chain import _CANONICAL, GENESIS, _next

    digest = GENESIS
    for position, (xid, transfer_id) in enumerate(order, start=1):
        digest = _next(
            digest, str(await conn.fetchval(f"SELECT {_CANONICAL} FROM billing.transfer t WHERE id = $1", transfer_id))
        )
        await conn.execute("INSERT INTO billing.seal VALUES ($1, $2::text::xid8, $3, $4)", position, xid, transfer_id, digest)


async def test_a_rewritten_history_is_found_by_a_kept_head_alone(history: Ledger) -> None:
    kept = await head(history.conn)
    await history.conn.execute("UPDATE billing.entry SET amount = amount * 2")
    await history.conn.execute("TRUNCATE billing.seal")
    assert await sealed(history.conn) == 7
    assert await broken(history.conn) == []
    assert await broken(history.conn, kept) == ["chain_leads_through_the_kept_head"]


async def test_a_head_stays_good_while_the_chain_grows(ledger: Ledger) -> None:
    assert await sealed(ledger.conn) == 1
    kept = Head.parse(str(await head(ledger.conn)))
    await ledger.capture((await ledger.held(10), 5))
    assert await sealed(ledger.conn) == 1
    assert await broken(ledger.conn, kept) == await broken(ledger.conn) == []
    assert await broken(ledger.conn, Head(0, bytes(32))) == []
    assert await broken(ledger.conn, Head(1, bytes(32))) == ["chain_leads_through_the_kept_head"]


async def test_batches_make_the_same_chain(ledger: Ledger) -> None:
    for amount in range(1, 6):
        await ledger.capture((await ledger.held(amount), amount))
    assert [await sealed(ledger.conn, 4) for _ in range(3)] == [4, 2, 0]
    at_twice = await head(ledger.conn)
    await ledger.conn.execute("ALTER TABLE billing.seal DISABLE TRIGGER USER; TRUNCATE billing.seal")
    await sealed(ledger.conn)
    assert await head(ledger.conn) == at_twice
    assert await broken(ledger.conn) == []


async def test_a_transaction_that_is_still_running_holds_the_seal_back(ledger: Ledger, pool: Pool) -> None:
    """It may have written before those that committed since: they wait for it, and then all stand in their order."""
    await sealed(ledger.conn)
    async with pool.acquire() as slow:
        late = await open_ledger(slow, 0)
        async with slow.transaction():
            await slow.execute("SELECT pg_current_xact_id()")
            await ledger.top_up(1)
            assert await sealed(ledger.conn) == 0
            await late.top_up(2)
        assert await sealed(ledger.conn) == 2
    assert await broken(ledger.conn) == []


async def test_many_sealers_seal_once(ledger: Ledger, pool: Pool) -> None:
    for amount in range(1, 9):
        await ledger.capture((await ledger.held(amount), amount))

    async def work() -> int:
        async with pool.acquire() as conn:
            return sum([await sealed(conn, 2) for _ in range(6)])

    await asyncio.gather(*[work() for _ in range(4)])
    assert (await head(ledger.conn)).position == 9
    assert await broken(ledger.conn) == []


@pytest.mark.parametrize("text", ["", "1", "1:", "-1:" + "0" * 64, "1:" + "0" * 63, "1:" + "G" * 64, " 1:" + "0" * 64])
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(ValueError, match="is no head"):
        Head.parse(text)
