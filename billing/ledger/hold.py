"""Hold: set a maximum aside before the work starts."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

import msgspec

from billing.errors import BillingError, TransferConflict
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.allocate import allocate
from billing.ledger.model import Balance, Draw, Held, HoldRequest, HoldRow, OpenHold


async def hold(conn: Conn, requests: Sequence[HoldRequest]) -> list[Held | BillingError]:
    """Decides the requests in order, in the caller's transaction. Returns one outcome each.

    A replay (same id, same request) returns what was held, whatever became of it, and takes nothing from the others; the
    same id with another request is a TransferConflict. InsufficientFunds, UnknownWallet and BudgetSpent touch nothing.
    Raises TransferConflict when another wallet takes one of the ids at the same moment: then nothing is held.
    """
    asked = [request.digest() for request in requests]
    first: dict[UUID, tuple[HoldRequest, bytes]] = {}
    for request, digest in zip(requests, asked, strict=True):
        first.setdefault(request.id, (request, digest))
    balances = await sql.LOCK_WALLETS.all(conn, list({wallet for request, _ in first.values() for wallet in _wallets(request)}))
    # Nearly always all are new and all fit; then nobody need look for holds that are there already.
    decided = _decide(first, balances, [])
    if decided.refused or not await _insert(conn, decided.rows):
        # Only now: what another holder of these locks has stored is visible to the statements after them.
        decided = _decide(first, balances, await sql.FIND_HOLDS.all(conn, list(first)))
        if not await _insert(conn, decided.rows):
            raise _used_twice()
    return [
        decided.outcomes[request.id]
        if decided.accepted.get(request.id, digest) == digest
        else TransferConflict(f"hold {request.id}")
        for request, digest in zip(requests, asked, strict=True)
    ]


class _Decided(msgspec.Struct, frozen=True):
    """The outcome of each id, the digest of each that is or will be held, and the rows that hold the new ones."""

    outcomes: dict[UUID, Held | BillingError]
    accepted: dict[UUID, bytes]
    rows: list[tuple[UUID, int, UUID, bytes, int]]
    refused: bool


def _decide(first: dict[UUID, tuple[HoldRequest, bytes]], balances: Sequence[Balance], stored: Sequence[HoldRow]) -> _Decided:
    """Decides what is not `stored` over locked balances."""
    accepted = {row.id: row.request for row in stored}
    outcomes: dict[UUID, Held | BillingError] = {
        hold_id: _stored(hold_id, list(rows)) for hold_id, rows in groupby(stored, key=lambda row: row.id)
    }
    new = [request for request, _ in first.values() if request.id not in outcomes]
    rows: list[tuple[UUID, int, UUID, bytes, int]] = []
    known = {balance.account_id: balance for balance in balances}
    refused = False
    for request, draws in zip(new, allocate(balances, new), strict=True):
        if isinstance(draws, BillingError):
            outcomes[request.id], refused = draws, True
            continue
        digest = accepted[request.id] = first[request.id][1]
        rows += [(request.id, seq, draw.account_id, digest, draw.amount) for seq, draw in enumerate(draws)]
        outcomes[request.id] = _held(request, draws, known)
    return _Decided(outcomes, accepted, rows, refused)


async def _insert(conn: Conn, rows: Sequence[tuple[UUID, int, UUID, bytes, int]]) -> bool:
    """Writes all, or nothing and returns False where a hold among them is there already. Raises TransferConflict."""
    if not rows:
        return True
    written = await sql.INSERT_HOLDS.one(conn, *[list(column) for column in zip(*rows, strict=True)])
    if 0 < written.amount < len(rows):
        raise _used_twice()
    return written.amount > 0


def _used_twice() -> TransferConflict:
    return TransferConflict("an id was used for two wallets at once")


async def lock_holds(conn: Conn, ids: Sequence[UUID]) -> dict[UUID, OpenHold]:
    """The holds that exist among `ids`, open or not, locked in order: nobody else can end one before this transaction does."""
    rows = await sql.LOCK_HOLDS.all(conn, list(ids))
    return {hold_id: OpenHold(hold_id, tuple(draws)) for hold_id, draws in groupby(rows, key=lambda row: row.id)}


def _wallets(request: HoldRequest) -> list[UUID]:
    others = [part.wallet_id for part in (request.seconds, request.sponsor) if part is not None]
    return [request.wallet_id, *others]


def _stored(hold_id: UUID, rows: list[HoldRow]) -> Held:
    found = OpenHold(hold_id, tuple(rows))
    return Held(hold_id, found.held_micro, found.held_ms, rows[-1].starts_at if rows[-1].part == "sponsor" else None)


def _held(request: HoldRequest, draws: Sequence[Draw], known: dict[UUID, Balance]) -> Held:
    sums = {"money": 0, "seconds": 0}
    starts_at = None
    for draw in draws:
        balance = known[draw.account_id]
        if balance.kind == "budget":
            starts_at = None if balance.started else balance.starts_at
        else:
            sums["money" if balance.wallet_id == request.wallet_id else "seconds"] += draw.amount
    return Held(request.id, sums["money"], sums["seconds"], starts_at)
