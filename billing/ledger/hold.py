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

    A replay (same id, same amount) returns what was held, whatever became of it; the same id with another amount is a
    TransferConflict. InsufficientFunds and UnknownWallet touch nothing.
    """
    distinct = list({request.id: request for request in requests}.values())
    balances = await sql.LOCK_WALLETS.all(conn, list({request.wallet_id for request in distinct}))
    wallets = {balance.wallet_id for balance in balances}
    ids: list[UUID] = []
    seqs: list[int] = []
    accounts: list[UUID] = []
    amounts: list[int] = []
    for request, draws in zip(distinct, allocate(balances, distinct), strict=True):
        for seq, draw in enumerate(draws or ()):
            ids.append(request.id)
            seqs.append(seq)
            accounts.append(draw.account_id)
            amounts.append(draw.amount_micro)
    added = {row.id for row in await sql.INSERT_HOLDS.all(conn, ids, seqs, accounts, amounts)} if ids else set[UUID]()
    stored = await _stored(conn, [request.id for request in distinct if request.id not in added])
    accepted = {request.id: request.amount_micro for request in distinct if request.id in added} | stored
    return [_outcome(request, accepted.get(request.id), request.wallet_id in wallets) for request in requests]


async def _stored(conn: Conn, ids: list[UUID], wallet_of: dict[UUID, UUID]) -> dict[UUID, HoldRequest]:
    """The requests that earlier holds with these ids answered. An account that nobody here may draw on stands for its wallet."""
    stored: dict[UUID, HoldRequest] = {}
    for row in await sql.FIND_HOLDS.all(conn, ids):
        before_micro = stored[row.id].amount_micro if row.id in stored else 0
        wallet_id = wallet_of.get(row.account_id, row.account_id)
        stored[row.id] = HoldRequest(row.id, wallet_id, before_micro + row.amount_micro)
    return stored


def _outcome(request: HoldRequest, accepted_micro: int | None, wallet_known: bool) -> Held | BillingError:
    if accepted_micro is None:
        return InsufficientFunds() if wallet_known else UnknownWallet()
    if accepted_micro != request.amount_micro:
        return TransferConflict(f"hold {request.id}")
    return Held(request.id, accepted_micro)
