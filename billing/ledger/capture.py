"""Capture: charge what was measured, at most what was held, once; the rest of the hold is free again."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

import msgspec

from billing.errors import BillingError, CaptureExceedsHold, HoldNotOpen, TransferConflict
from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.allocate import split_capture
from billing.ledger.model import Captured, CaptureRequest, HoldRow, capture_transfer_id


async def capture(conn: Conn, requests: Sequence[CaptureRequest]) -> list[Captured | BillingError]:
    """Ends each hold with a transfer wallet → revenue, in the caller's transaction. Returns one outcome each.

    A replay with the same amount returns the stored outcome; another amount is a TransferConflict. A hold that was
    released or never made is HoldNotOpen; more than was held is CaptureExceedsHold. Refusals change nothing.
    """
    held = await _lock(conn, [request.id for request in requests])
    first: dict[UUID, CaptureRequest] = {}
    outcomes: list[Captured | BillingError] = []
    for request in requests:
        outcome = _decide(request, held.get(request.id, ()), first.get(request.id))
        if isinstance(outcome, Captured) and held[request.id][0].state == "held":
            first.setdefault(request.id, request)
        outcomes.append(outcome)
    if first:
        await _post(conn, [(request, held[request.id]) for request in first.values()])
    return outcomes


async def _lock(conn: Conn, ids: list[UUID]) -> dict[UUID, tuple[HoldRow, ...]]:
    rows = await sql.LOCK_HOLDS.all(conn, ids)
    return {hold_id: tuple(group) for hold_id, group in groupby(rows, key=lambda row: row.id)}


def _decide(request: CaptureRequest, draws: Sequence[HoldRow], earlier: CaptureRequest | None) -> Captured | BillingError:
    state = draws[0].state if draws else "missing"
    if state == "captured" or earlier is not None:
        settled = earlier.amount_micro if earlier else sum(draw.captured_micro for draw in draws)
        if settled != request.amount_micro:
            return TransferConflict(f"hold {request.id} was captured with {settled}")
    elif state != "held":
        return HoldNotOpen(f"hold {request.id} is {state}")
    elif not 0 <= request.amount_micro <= sum(draw.amount_micro for draw in draws):
        return CaptureExceedsHold(f"hold {request.id}: {request.amount_micro}")
    return Captured(request.id, request.amount_micro, capture_transfer_id(request.id))


async def _post(conn: Conn, captures: list[tuple[CaptureRequest, tuple[HoldRow, ...]]]) -> None:
    draws: list[tuple[HoldRow, int]] = []
    entries: list[tuple[UUID, int, UUID, str, int]] = []
    for request, rows in captures:
        transfer_id = capture_transfer_id(request.id)
        parts = list(zip(rows, split_capture([row.amount_micro for row in rows], request.amount_micro), strict=True))
        draws += parts
        legs = [(row.account_id, -part) for row, part in parts if part]
        legs += [(request.revenue_account_id, request.amount_micro)] if request.amount_micro else []
        entries += [(transfer_id, leg, account, rows[0].asset, amount) for leg, (account, amount) in enumerate(legs)]
    await sql.LOCK_ACCOUNTS.all(conn, list({row.account_id for row, _ in draws}))
    await sql.END_HOLDS.run(
        conn,
        [row.id for row, _ in draws],
        [row.seq for row, _ in draws],
        ["captured"] * len(draws),
        [part for _, part in draws],
    )
    requests = [request for request, _ in captures]
    await sql.POST_TRANSFERS.run(
        conn,
        [capture_transfer_id(request.id) for request in requests],
        ["capture"] * len(requests),
        [request.id for request in requests],
        [msgspec.json.encode(request.payload) for request in requests],
    )
    await sql.POST_ENTRIES.run(conn, *([list(column) for column in zip(*entries, strict=True)] or [[], [], [], [], []]))
