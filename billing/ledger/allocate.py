"""Which holds fit, and from which accounts they draw. Pure: balances are locked before and changed after."""

from collections.abc import Sequence
from uuid import UUID

from billing.ledger.model import Balance, Draw, HoldRequest


def allocate(balances: Sequence[Balance], requests: Sequence[HoldRequest]) -> list[tuple[Draw, ...] | None]:
    """Decides `requests` in arrival order; None where the wallet does not cover one (a later, smaller one still may fit).

    `balances` are in draw order within a wallet. A hold of nothing draws nothing, from the first account.
    """
    accounts: dict[UUID, list[UUID]] = {}
    free_micro: dict[UUID, int] = {}
    for balance in balances:
        accounts.setdefault(balance.wallet_id, []).append(balance.account_id)
        free_micro[balance.account_id] = balance.free_micro
    return [_draw(accounts.get(r.wallet_id, []), free_micro, r.amount_micro) for r in requests]


def _draw(accounts: list[UUID], free_micro: dict[UUID, int], amount_micro: int) -> tuple[Draw, ...] | None:
    """Takes `amount_micro` out of `free_micro`, or leaves it untouched and returns None."""
    draws: list[Draw] = []
    missing = amount_micro
    for account_id in accounts:
        part = min(missing, max(free_micro[account_id], 0))
        if part or (amount_micro == 0 and not draws):
            draws.append(Draw(account_id, part))
            missing -= part
        if not missing:
            break
    if missing or not draws:
        return None
    for draw in draws:
        free_micro[draw.account_id] -= draw.amount_micro
    return tuple(draws)


def split_capture(held_micro: Sequence[int], amount_micro: int) -> list[int]:
    """How a capture falls on the draws of its hold: in draw order, each up to what it holds."""
    parts: list[int] = []
    for held in held_micro:
        part = min(held, amount_micro)
        parts.append(part)
        amount_micro -= part
    return parts
