"""The instruments of the simulator fail where they must."""

import pytest

from billing.kit.query import Conn
from billing.ledger.wallets import top_up
from tests.billing.ledger.book import open_ledger
from tests.billing.simulator.cut import Cut, CutConn


@pytest.mark.parametrize("after", [False, True])
async def test_a_verb_that_is_cut_at_any_statement_leaves_nothing(database: Conn, after: bool) -> None:
    ledger = await open_ledger(database)

    async def work(conn: CutConn) -> None:
        async with database.transaction():
            await top_up(conn, source="s", customer_id=ledger.customer, asset="CNY", amount_micro=5)  # pyright: ignore[reportArgumentType] - it has all that verbs use

    at = 0
    while True:
        at += 1
        conn = CutConn(database, at, after=after)
        try:
            await work(conn)
        except Cut:
            assert conn.count == at and await ledger.balance() == (100, 0)
        else:
            break
    assert conn.count == at - 1 > 5 and await ledger.balance() == (105, 0)
