"""Release: give a hold back whole; nothing was delivered, nothing is charged."""

from collections.abc import Sequence
from uuid import UUID

from billing.errors import BillingError, HoldNotOpen
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.hold import lock_holds
from billing.ledger.model import Released


async def release(conn: Conn, ids: Sequence[UUID]) -> list[Released | BillingError]:
    """Ends each hold without a transfer, in the caller's transaction. Returns one outcome each.

    Releasing again is a replay; a hold that was captured or never made is HoldNotOpen and stays as it is.
    """
    held = await lock_holds(conn, ids)
    open_holds = [found for found in held.values() if found.state == "held"]
    if open_holds:
        await sql.LOCK_ACCOUNTS.all(conn, list({draw.account_id for found in open_holds for draw in found.draws}))
        await sql.RELEASE_HOLDS.run(conn, [found.id for found in open_holds])
    states = {found.id: found.state for found in held.values()}
    return [
        Released(hold_id)
        if states.get(hold_id) in ("held", "released")
        else HoldNotOpen(f"hold {hold_id} is {states.get(hold_id, 'missing')}")
        for hold_id in ids
    ]
