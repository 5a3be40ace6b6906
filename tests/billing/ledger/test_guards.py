"""What the tables refuse whoever writes to them."""

import asyncpg
import pytest

from billing.kit.ids import new_id
from billing.kit.query import Conn
from tests.billing.ledger.book import REVENUE, Ledger

HISTORY = ["billing.transfer", "billing.entry", "billing.rate_card"]
COLUMN = {"billing.transfer": "kind", "billing.entry": "asset", "billing.rate_card": "currency"}


@pytest.mark.parametrize("table", HISTORY)
@pytest.mark.parametrize("verb", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table}"])
async def test_history_is_append_only(ledger: Ledger, table: str, verb: str) -> None:
    await ledger.capture((await ledger.held(10), 5))
    with pytest.raises(asyncpg.RestrictViolationError, match=f"{table} is append-only"):
        await ledger.conn.execute(verb.format(table=table, column=COLUMN[table]))


@pytest.mark.parametrize(
    "legs",
    [[("CNY", 1)], [("CNY", 5), ("CNY", -4)], [("CNY", 5), ("USD", -5)], [("CNY", 5), ("CNY", -5), ("USD", 1)]],
)
async def test_a_transfer_that_does_not_balance_per_asset_is_refused(ledger: Ledger, legs: list[tuple[str, int]]) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="does not sum to zero"):
        await post(ledger.conn, legs)


async def test_one_wrong_transfer_refuses_the_statement_it_came_with(ledger: Ledger) -> None:
    right, wrong = new_id(), new_id()
    with pytest.raises(asyncpg.CheckViolationError, match=str(wrong)):
        await ledger.conn.execute(
            "INSERT INTO billing.entry VALUES ($1, 0, $3, 'CNY', 1, billing.now()), ($1, 1, $3, 'CNY', -1, billing.now()), "
            "($2, 0, $3, 'CNY', 1, billing.now())",
            right,
            wrong,
            REVENUE,
        )
    assert await ledger.conn.fetchval("SELECT count(*) FROM billing.entry WHERE transfer_id = $1", right) == 0


async def post(conn: Conn, legs: list[tuple[str, int]]) -> None:
    await conn.execute(
        "INSERT INTO billing.entry SELECT $1, n - 1, $2, asset, amount, billing.now()"
        " FROM unnest($3::text[], $4::bigint[]) WITH ORDINALITY AS u (asset, amount, n)",
        new_id(),
        REVENUE,
        [asset for asset, _ in legs],
        [amount for _, amount in legs],
    )


HOLD = "INSERT INTO billing.hold (id, seq, account_id, request, amount, captured, state, ended_at) VALUES "
KEY = "(gen_random_uuid(), 0, gen_random_uuid(), '', "
REFUSED = {
    "held below nothing": ("balance_held_not_negative", "UPDATE billing.balance SET held = -1"),
    "overspent": ("balance_not_overspent", "UPDATE billing.balance SET posted = held - 1"),
    "overheld": ("balance_not_overspent", "UPDATE billing.balance SET held = posted + 1"),
    "a hold below nothing": ("hold_amount_check", HOLD + KEY + "-1, 0, 'held', NULL)"),
    "a state of its own": ("hold_state", HOLD + KEY + "1, 0, 'lost', now())"),
    "captured more than held": ("hold_captured_within", HOLD + KEY + "1, 2, 'captured', now())"),
    "captured below nothing": ("hold_captured_within", HOLD + KEY + "1, -1, 'captured', now())"),
    "captured while held": ("hold_captured_only_if_captured", HOLD + KEY + "1, 1, 'held', NULL)"),
    "captured and released": ("hold_captured_only_if_captured", HOLD + KEY + "1, 1, 'released', now())"),
    "ended while held": ("hold_ended_if_not_held", HOLD + KEY + "1, 0, 'held', now())"),
    "captured without an end": ("hold_ended_if_not_held", HOLD + KEY + "1, 1, 'captured', NULL)"),
    "released without an end": ("hold_ended_if_not_held", HOLD + KEY + "1, 0, 'released', NULL)"),
    "a leg of nothing": (
        "entry_amount_check",
        "INSERT INTO billing.entry VALUES (gen_random_uuid(), 0, gen_random_uuid(), 'CNY', 0, billing.now())",
    ),
    "a kind of its own": (
        "transfer_kind",
        "INSERT INTO billing.transfer (id, kind, subject_id, payload) SELECT id, 'gift', id, '{}' FROM billing.wallet",
    ),
    "a book of its own": ("wallet_book_check", "UPDATE billing.wallet SET book = 'mine'"),
    "an account's book of its own": ("account_book_check", "UPDATE billing.account SET book = 'mine'"),
}


@pytest.mark.parametrize("row", REFUSED)
async def test_an_impossible_row_is_refused(ledger: Ledger, row: str) -> None:
    constraint, statement = REFUSED[row]
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await ledger.conn.execute(statement)
    assert refused.value.constraint_name == constraint


async def test_a_transfer_and_a_leg_exist_once(ledger: Ledger) -> None:
    hold_id = await ledger.held(10)
    await ledger.capture((hold_id, 5))
    await ledger.conn.execute("CREATE TEMPORARY TABLE twin AS SELECT * FROM billing.transfer")
    await ledger.conn.execute("CREATE TEMPORARY TABLE legs AS SELECT * FROM billing.entry")
    for table, source in (("transfer", "twin"), ("entry", "legs")):
        with pytest.raises(asyncpg.UniqueViolationError):
            await ledger.conn.execute(f"INSERT INTO billing.{table} SELECT * FROM {source}")
