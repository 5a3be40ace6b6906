"""A history of captured jobs, written by SQL as the verbs would have written it, only faster."""

from collections.abc import Sequence
from uuid import UUID

from billing.kit.query import Conn
from billing.ledger.model import paid_account_id, platform_account_id

_PART = 500_000
_WRITE = """
    WITH job AS MATERIALIZED (
        SELECT n, ($1::uuid[])[1 + n % cardinality($1::uuid[])] AS account_id,
               overlay(gen_random_uuid()::text PLACING substr(k, 1, 8) || '-' || substr(k, 9, 4) FROM 1 FOR 13)::uuid AS id,
               overlay(gen_random_uuid()::text PLACING substr(k, 1, 8) || '-' || substr(k, 9, 4) FROM 1 FOR 13)::uuid AS transfer_id,
               begun.at + n * interval '1 ms' AS at
        FROM (SELECT billing.now() - interval '100000 s' AS at) AS begun, generate_series($3::int, $4::int - 1) AS n,
             LATERAL lpad(to_hex((extract(epoch FROM billing.now()) * 1000)::bigint - 100000000 + n), 12, '0') AS k
    ), held AS (
        INSERT INTO billing.hold (id, seq, account_id, request, amount, captured, state, ended_at)
        SELECT id, 0, account_id, uuid_send(id), 1000000, 1000000, 'captured', billing.now() FROM job
    ), posted AS (
        INSERT INTO billing.transfer (id, kind, subject_id, payload, created_at)
        SELECT transfer_id, 'capture', id, '{"duration_ms": 4000, "rate_micro_per_s": 250000, "frames": 96, "attempt": 1}', at FROM job
    )
    INSERT INTO billing.entry (transfer_id, leg, account_id, asset, amount, booked_at)
    SELECT transfer_id, 0, account_id, 'CNY', -1000000, at FROM job
    UNION ALL
    SELECT transfer_id, 1, $2, 'CNY', 1000000, at FROM job
"""


_TABLES = ("hold", "transfer", "entry")
_INDEXES = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) AS drop,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)) AS make
    FROM pg_constraint c WHERE c.contype = 'p' AND c.conrelid = ANY($1::text[]::regclass[])
    UNION ALL
    SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
    FROM pg_index i WHERE NOT i.indisprimary AND i.indrelid = ANY($1::text[]::regclass[])
"""
"""Made again afterwards: an index that is built is a sort, one that is kept up to date is a search for each row."""


async def write_history(conn: Conn, wallets: Sequence[UUID], transfers: int) -> None:
    """Each is one capture of a million micro-units; the balances pay for all of it."""
    accounts, revenue = [paid_account_id(wallet) for wallet in wallets], platform_account_id("revenue:usage", "live", "CNY")
    indexes = await conn.fetch(_INDEXES, [f"billing.{table}" for table in _TABLES])
    for index in indexes:
        await conn.execute(index["drop"])
    await conn.execute("ALTER TABLE billing.entry DISABLE TRIGGER USER")
    for start in range(0, transfers, _PART):
        await conn.execute(_WRITE, accounts, revenue, start, min(start + _PART, transfers), timeout=3600)
    await conn.execute("ALTER TABLE billing.entry ENABLE TRIGGER USER")
    await conn.execute("SET maintenance_work_mem = '1GB'")
    for index in indexes:
        await conn.execute(index["make"], timeout=3600)
    await conn.execute(
        "UPDATE billing.balance b SET posted = s.posted FROM ("
        " SELECT account_id, sum(amount) AS posted FROM billing.entry WHERE account_id = ANY($1::uuid[]) GROUP BY account_id"
        ") s WHERE b.account_id = s.account_id",
        accounts,
        timeout=3600,
    )
    await conn.execute("RESET maintenance_work_mem")
    await conn.execute("VACUUM ANALYZE", timeout=3600)
    await conn.execute("CHECKPOINT", timeout=3600)
