"""Hold: set a maximum aside before the work starts."""

from collections.abc import Sequence
from uuid import UUID

from billing.errors import BillingError, InsufficientFunds, TransferConflict, UnknownWallet
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.allocate import allocate
from billing.ledger.model import Held, HoldRequest


async def hold(conn: Conn, requests: Sequence[HoldRequest]) -> list[Held | BillingError]:
    """Decides the requests in order, in the caller's transaction. Returns one outcome each.

    A replay (same id, wallet and amount) returns what was held, whatever became of it, and takes nothing from the others;
    the same id with another wallet or amount is a TransferConflict. InsufficientFunds and UnknownWallet touch nothing.
    Raises TransferConflict when another wallet takes one of the ids at the same moment: then nothing is held.
    """
    first: dict[UUID, HoldRequest] = {}
    for request in requests:
        first.setdefault(request.id, request)
    balances = await sql.LOCK_WALLETS.all(conn, list({request.wallet_id for request in first.values()}))
    # Only now: what another holder of these locks has stored is visible to the statements after them.
    accepted = await _stored(conn, list(first), {balance.account_id: balance.wallet_id for balance in balances})
    new = [request for request in first.values() if request.id not in accepted]
    rows: list[tuple[UUID, int, UUID, int]] = []
    for request, draws in zip(new, allocate(balances, new), strict=True):
        if draws is not None:
            accepted[request.id] = request
            rows += [(request.id, seq, draw.account_id, draw.amount_micro) for seq, draw in enumerate(draws)]
    if rows and len(await sql.INSERT_HOLDS.all(conn, *[list(column) for column in zip(*rows, strict=True)])) < len(rows):
        raise TransferConflict("an id was used for two wallets at once")
    wallets = {balance.wallet_id for balance in balances}
    return [_outcome(request, accepted.get(request.id), request.wallet_id in wallets) for request in requests]


async def _stored(conn: Conn, ids: list[UUID], wallet_of: dict[UUID, UUID]) -> dict[UUID, HoldRequest]:
    """The requests that earlier holds with these ids answered. An account that nobody here may draw on stands for its wallet."""
    stored: dict[UUID, HoldRequest] = {}
    for row in await sql.FIND_HOLDS.all(conn, ids):
        before_micro = stored[row.id].amount_micro if row.id in stored else 0
        wallet_id = wallet_of.get(row.account_id, row.account_id)
        stored[row.id] = HoldRequest(row.id, wallet_id, before_micro + row.amount_micro)
    return stored


def _outcome(request: HoldRequest, accepted: HoldRequest | None, wallet_known: bool) -> Held | BillingError:
    if accepted is None:
        return InsufficientFunds() if wallet_known else UnknownWallet()
    if accepted != request:
        return TransferConflict(f"hold {request.id}")
    return Held(request.id, request.amount_micro)
