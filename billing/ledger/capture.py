"""Capture: charge what was measured, at most what was held, once; the rest of the hold is free again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec

from billing.errors import BillingError, CaptureExceedsHold, HoldNotOpen, TransferConflict
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.allocate import split
from billing.ledger.hold import lock_holds
from billing.ledger.model import (
    Balance,
    Captured,
    CaptureRequest,
    Entry,
    HoldRow,
    OpenHold,
    capture_transfer_id,
    platform_account_id,
    platform_path,
)
from billing.ledger.rules import DEFERRED, DRAWN

_DEFERRED = DEFERRED.partition("/")[0]


async def capture(
    conn: Conn, requests: Sequence[CaptureRequest], holds: Mapping[UUID, OpenHold] | None = None
) -> list[Captured | BillingError]:
    """Ends each hold with a transfer from its draws to what they paid for, in the caller's transaction. One outcome each.

    `holds` are those `lock_holds` returned in this transaction. A replay with the same contents returns the stored outcome;
    others are a TransferConflict. A hold that was released or never made is HoldNotOpen; more seconds, money or sponsor's
    part than was held is CaptureExceedsHold. Refusals change nothing.
    """
    held = await lock_holds(conn, [request.id for request in requests]) if holds is None else holds
    before = [request for request in requests if request.id in held and held[request.id].state == "captured"]
    same = await _stored_alike(conn, before) if before else set[_Payload]()
    first: dict[UUID, _Capture] = {}
    outcomes: list[Captured | BillingError] = []
    for request in requests:
        earlier = first.get(request.id)
        if earlier is not None:
            outcomes.append(earlier.outcome if earlier.request == request else _conflict(request))
            continue
        outcome = _decide(request, held.get(request.id), same)
        if isinstance(outcome, _Capture):
            first[request.id] = outcome
            outcome = outcome.outcome
        outcomes.append(outcome)
    if first:
        await _write(conn, list(first.values()))
    return outcomes


class _Capture(msgspec.Struct, frozen=True):
    """One to be written: the share of each draw, in their order."""

    request: CaptureRequest
    draws: tuple[HoldRow, ...]
    shares: list[int]
    outcome: Captured


_Payload: TypeAlias = tuple[UUID, bytes]
"""A hold and what its capture keeps."""


def _decide(request: CaptureRequest, found: OpenHold | None, same: set[_Payload]) -> _Capture | Captured | BillingError:
    if found is None or found.state == "released":
        return HoldNotOpen(f"hold {request.id} is {found.state if found else 'missing'}")
    asked = {"seconds": request.seconds_ms, "money": request.amount_micro, "sponsor": request.sponsor_micro}
    if found.state == "captured":
        stored = {"seconds": 0, "money": 0, "sponsor": 0}
        for row in found.draws:
            stored[row.part] += row.captured
        alike = stored == asked and (request.id, msgspec.json.encode(request.payload)) in same
        return _captured(request, found.draws, [row.captured for row in found.draws]) if alike else _conflict(request)
    shares = split([(row.part, row.amount) for row in found.draws], asked)
    if shares is None:
        return CaptureExceedsHold(f"hold {request.id}: {asked}")
    return _Capture(request, found.draws, shares, _captured(request, found.draws, shares))


def _captured(request: CaptureRequest, draws: Sequence[HoldRow], shares: Sequence[int]) -> Captured:
    promo_micro = sum([share for row, share in zip(draws, shares, strict=True) if row.kind == "promo"])
    return Captured(request.id, request.amount_micro, capture_transfer_id(request.id), request.seconds_ms, promo_micro)


async def _stored_alike(conn: Conn, requests: Sequence[CaptureRequest]) -> set[_Payload]:
    """What of it is stored."""
    payloads = [msgspec.json.encode(request.payload) for request in requests]
    ids = [request.id for request in requests]
    rows = await sql.FIND_TRANSFERS.all(conn, list(map(capture_transfer_id, ids)), ["capture"] * len(ids), ids, payloads)
    return {(ids[row.nth - 1], payloads[row.nth - 1]) for row in rows if row.same}


def _conflict(request: CaptureRequest) -> TransferConflict:
    return TransferConflict(f"hold {request.id} was captured otherwise")


async def _write(conn: Conn, captures: Sequence[_Capture]) -> None:
    drawn = {row.account_id for one in captures for row in one.draws}
    balances = {balance.account_id: balance for balance in await sql.LOCK_ACCOUNTS.all(conn, list(drawn))}
    posted = {account_id: balance.posted for account_id, balance in balances.items()}
    ended: list[tuple[UUID, int, int]] = []
    transfers: list[tuple[UUID, UUID, bytes]] = []
    entries: list[tuple[UUID, int, UUID, str, int]] = []
    for one in captures:
        transfer_id = one.outcome.transfer_id
        transfers.append((transfer_id, one.request.id, msgspec.json.encode(one.request.payload)))
        legs: list[Entry] = []
        for row, share in zip(one.draws, one.shares, strict=True):
            ended.append((row.id, row.seq, share))
            legs += draw_legs(row, balances, posted, share)
        entries += [(transfer_id, n, leg.account_id, leg.asset, leg.amount) for n, leg in enumerate(merged(legs))]
    await sql.CAPTURE.run(
        conn,
        *[list(column) for column in zip(*ended, strict=True)],
        *[list(column) for column in zip(*transfers, strict=True)],
        *([list(column) for column in zip(*entries, strict=True)] or [[], [], [], [], []]),
    )


def draw_legs(row: HoldRow, balances: Mapping[UUID, Balance], posted: dict[UUID, int], share: int) -> Iterator[Entry]:
    """The legs of using `share` of a draw's account, of giving it back where it is negative; moves `posted`."""
    if not share:
        return
    drawn, balance, before = DRAWN[row.kind], balances[row.account_id], posted[row.account_id]
    posted[row.account_id] = before - share
    yield Entry(row.account_id, row.asset, -share)
    yield ours(drawn.to if share > 0 else drawn.refunded, row.book, row.asset, share)
    if drawn.earned and balance.basis_asset is not None:
        earned = balance.recognised_micro(before - share) - balance.recognised_micro(before)
        yield ours(_DEFERRED, row.book, balance.basis_asset, -earned, str(row.account_id))
        yield ours(drawn.earned, row.book, balance.basis_asset, earned)


def ours(name: str, book: str, asset: str, amount: int, *dimensions: str) -> Entry:
    account_id = platform_account_id(name, book, asset, *dimensions)
    return Entry(account_id, asset, amount, platform_path(name, book, asset, *dimensions))


def merged(legs: Sequence[Entry]) -> list[Entry]:
    """One entry per account, in order of appearance; none of nothing."""
    sums: dict[UUID, Entry] = {}
    for leg in legs:
        before = sums.get(leg.account_id)
        sums[leg.account_id] = leg if before is None else msgspec.structs.replace(leg, amount=before.amount + leg.amount)
    return [leg for leg in sums.values() if leg.amount]
