"""Release: give a hold back whole; nothing was delivered, nothing is charged."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from billing.errors import BillingError, HoldNotOpen
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import HoldRow, Released


async def release(conn: Conn, ids: Sequence[UUID]) -> list[Released | BillingError]:
    """Ends each hold without a transfer, in the caller's transaction. Returns one outcome each.

    Releasing again is a replay; a hold that was captured or never made is HoldNotOpen and stays as it is.
    """
    rows = await sql.LOCK_HOLDS.all(conn, list(ids))
    held: dict[UUID, list[HoldRow]] = {hold_id: list(group) for hold_id, group in groupby(rows, key=lambda row: row.id)}
    open_rows = [row for row in rows if row.state == "held"]
    if open_rows:
        await sql.LOCK_ACCOUNTS.all(conn, list({row.account_id for row in open_rows}))
        await sql.END_HOLDS.run(
            conn,
            [row.id for row in open_rows],
            [row.seq for row in open_rows],
            ["released"] * len(open_rows),
            [0] * len(open_rows),
        )
    states = {hold_id: group[0].state for hold_id, group in held.items()}
    return [
        Released(hold_id)
        if states.get(hold_id) in ("held", "released")
        else HoldNotOpen(f"hold {hold_id} is {states.get(hold_id, 'missing')}")
        for hold_id in ids
    ]
