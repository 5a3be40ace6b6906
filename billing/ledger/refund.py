"""Refund: give back part of what a capture charged, to the grants it was drawn from."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import msgspec

from billing.errors import BillingError, RefundExceedsCapture, TransferConflict
from billing.kit.ids import derived_id
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.allocate import split
from billing.ledger.capture import draw_legs, merged, ours
from billing.ledger.hold import lock_holds
from billing.ledger.model import Balance, Entry, HoldRow, OpenHold, Refunded, RefundRequest, grant_account_id
from billing.ledger.post import Move, write
from billing.ledger.rules import DEFERRED, DRAWN

GRACE = timedelta(days=30)
"""How long what is given back may be used where the grant it came from has expired."""


class _Kept(msgspec.Struct, frozen=True):
    """The payload of a refund."""

    reason: str
    seconds_ms: int
    amount_micro: int
    promo_micro: int


async def refund(conn: Conn, requests: Sequence[RefundRequest]) -> list[Refunded | BillingError]:
    """Gives each back in reverse draw order, in the caller's transaction. Returns one outcome each.

    Money and seconds go to the account they were drawn from; where that has expired, to a new grant with `GRACE` to use it.
    The same hold and reason again is a replay, with other amounts a TransferConflict. More than was captured and not given
    back yet, also of a hold that was never captured, is RefundExceedsCapture. Refusals change nothing.
    """
    held = await lock_holds(conn, [request.hold_id for request in requests])
    accounts = list({draw.account_id for found in held.values() for draw in found.draws})
    balances = {balance.account_id: balance for balance in await sql.LOCK_ACCOUNTS.all(conn, accounts)}
    stored = {
        row.id: msgspec.json.decode(row.payload, type=_Kept) for row in await sql.TRANSFERS.all(conn, list(map(_id, requests)))
    }
    turn = _Turn(held, balances)
    outcomes: list[Refunded | BillingError] = []
    for request in requests:
        kept = stored.get(_id(request))
        if kept is None:
            found = turn.give_back(request)
            if isinstance(found, BillingError):
                outcomes.append(found)
                continue
            kept = stored[_id(request)] = found
        outcomes.append(_refunded(request, kept))
    await turn.write(conn)
    return outcomes


def shares_of(found: OpenHold, given: Mapping[tuple[UUID, int], int], request: RefundRequest) -> list[tuple[HoldRow, int]] | None:
    """How a refund falls on the draws of a hold, the last first; None where not so much is left. `given`: so far, by draw."""
    rows, most = found.draws[::-1], request.owed_micro
    left = [
        (row.part, rest if most is None or row.kind != "credit" else min(rest, most))
        for row in rows
        for rest in (row.captured - given[row.id, row.seq],)
    ]
    shares = split(left, {"seconds": request.seconds_ms, "money": request.amount_micro, "sponsor": 0})
    return None if shares is None else list(zip(rows, shares, strict=True))


def _id(request: RefundRequest) -> UUID:
    return derived_id("refund", request.hold_id, request.reason)


def _refunded(request: RefundRequest, kept: _Kept) -> Refunded | BillingError:
    if (kept.seconds_ms, kept.amount_micro) != (request.seconds_ms, request.amount_micro):
        return TransferConflict(f"refund of hold {request.hold_id} for {request.reason}")
    return Refunded(request.hold_id, kept.amount_micro, _id(request), kept.seconds_ms, kept.promo_micro)


class _Turn:
    """The refunds of one call, each seeing what those before it gave back."""

    def __init__(self, held: dict[UUID, OpenHold], balances: dict[UUID, Balance]) -> None:
        self._held, self._balances = held, balances
        self._posted = {account_id: balance.posted for account_id, balance in balances.items()}
        self._given = {(row.id, row.seq): row.refunded for found in held.values() for row in found.draws}
        self._shares: dict[tuple[UUID, int], int] = {}
        self._moves: list[Move] = []
        self._grants: list[tuple[HoldRow, UUID, int, int]] = []

    def give_back(self, request: RefundRequest) -> _Kept | BillingError:
        found = self._held.get(request.hold_id)
        if found is None or found.state != "captured":
            return RefundExceedsCapture(f"hold {request.hold_id} is {found.state if found else 'missing'}")
        shares = shares_of(found, self._given, request)
        if shares is None:
            return RefundExceedsCapture(f"hold {request.hold_id}")
        legs: list[Entry] = []
        for row, share in shares:
            self._given[row.id, row.seq] += share
            self._shares[row.id, row.seq] = self._shares.get((row.id, row.seq), 0) + share
            legs += self._legs(row, share, _id(request))
        promo_micro = sum(share for row, share in shares if row.kind == "promo")
        kept = _Kept(request.reason, request.seconds_ms, request.amount_micro, promo_micro)
        payload, entries = msgspec.json.encode(kept), tuple(merged(legs))
        self._moves.append(Move(_id(request), "refund", request.hold_id, payload, found.draws[0].book, entries))
        return kept

    def _legs(self, row: HoldRow, share: int, transfer_id: UUID) -> list[Entry]:
        balance = self._balances[row.account_id]
        if not share or not balance.expired:
            return list(draw_legs(row, self._balances, self._posted, -share))
        account_id = grant_account_id(row.wallet_id, row.kind, f"refund/{transfer_id}/{row.seq}")
        # Rounded down, so that many small refunds never defer more again than was earned.
        basis_micro = balance.basis_micro * share // balance.issued if balance.issued else 0
        self._grants.append((row, account_id, share, basis_micro))
        drawn = DRAWN[row.kind]
        legs = [Entry(account_id, row.asset, share), ours(drawn.refunded, row.book, row.asset, -share)]
        if balance.basis_asset is not None:
            name = DEFERRED.partition("/")[0]
            legs.append(ours(name, row.book, balance.basis_asset, basis_micro, str(account_id)))
            legs.append(ours(drawn.earned, row.book, balance.basis_asset, -basis_micro))
        return legs

    async def write(self, conn: Conn) -> None:
        if self._grants:
            await self._open_grants(conn)
        if self._moves:
            await write(conn, self._moves)
            keys = list(self._shares)
            await sql.GIVE_BACK.run(conn, [key[0] for key in keys], [key[1] for key in keys], list(self._shares.values()))

    async def _open_grants(self, conn: Conn) -> None:
        expires_at = (await sql.NOW.one(conn)).at + GRACE
        for row, account_id, share, basis_micro in self._grants:
            balance = self._balances[row.account_id]
            await sql.ADD_GRACE_ACCOUNT.run(conn, account_id, row.account_id)
            await sql.ADD_GRANT.run(
                conn, account_id, row.wallet_id, row.kind, balance.priority, None, expires_at, share, basis_micro,
                balance.basis_asset, f"refund of {row.id}",
            )  # fmt: skip
            await sql.ADD_BALANCE.run(conn, account_id, row.wallet_id, 0)
