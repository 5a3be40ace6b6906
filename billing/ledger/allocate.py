"""Which holds fit, and from which accounts they draw. Pure: balances are locked before and changed after."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from billing.errors import BillingError, BudgetSpent, InsufficientFunds, UnknownWallet
from billing.kit.money import charge_micro
from billing.ledger.model import Balance, Draw, HoldRequest

_NEVER = datetime.max.replace(tzinfo=UTC)
_LAST = {"paid": 1, "credit": 2}
"""Promotional before paid before credit, where priority and expiry are the same."""


def allocate(balances: Sequence[Balance], requests: Sequence[HoldRequest]) -> list[tuple[Draw, ...] | BillingError]:
    """Decides `requests` in arrival order; one that is refused leaves what it asked for to those behind it.

    Draws are in the order in which a capture falls on them: seconds, money, the sponsor's part. A hold of nothing draws
    nothing, from the first account of its wallet.
    """
    purses: dict[UUID, list[Balance]] = {}
    for balance in sorted(balances, key=_draw_order):
        purses.setdefault(balance.wallet_id, []).append(balance)
    free = {balance.account_id: balance.free for balance in balances}
    kinds = {balance.account_id: balance.kind for balance in balances}
    return [_decide(request, purses, free, kinds) for request in requests]


def _draw_order(balance: Balance) -> tuple[int, datetime, int, datetime, UUID]:
    return (
        balance.priority,
        balance.expires_at or _NEVER,
        _LAST.get(balance.kind, 0),
        balance.created_at,
        balance.account_id,
    )


def _decide(
    request: HoldRequest, purses: dict[UUID, list[Balance]], free: dict[UUID, int], kinds: dict[UUID, str]
) -> tuple[Draw, ...] | BillingError:
    """Takes the draws out of `free`, or leaves it untouched and says why. A sponsor pays only where an allowance is used.

    A wallet from which more was taken than it had (a dispute) holds nothing of any kind until that is made good.
    """
    money = purses.get(request.wallet_id, ())
    if any(balance.kind == "paid" and balance.free < 0 for balance in money):
        return InsufficientFunds()
    draws: list[Draw] = []
    needed_micro = request.amount_micro
    if request.seconds is not None:
        draws, missing_ms = _take(purses.get(request.seconds.wallet_id, ()), free, request.seconds.duration_ms)
        if draws:
            needed_micro = charge_micro(missing_ms, request.seconds.rate_micro_per_s)
    if needed_micro or not draws:
        if not money:
            return UnknownWallet()
        part, missing_micro = _take(money, free, needed_micro)
        if missing_micro > 0:
            return InsufficientFunds()
        draws += part or [Draw(money[0].account_id, needed_micro)]
    if request.sponsor is not None and any(kinds[draw.account_id] == "allowance" for draw in draws):
        covering = _covering(purses.get(request.sponsor.wallet_id, ()), free, request.sponsor.amount_micro)
        if covering is None:
            return BudgetSpent()
        draws.append(Draw(covering.account_id, request.sponsor.amount_micro))
    for draw in draws:
        free[draw.account_id] -= draw.amount
    return tuple(draws)


def _take(purse: Sequence[Balance], free: dict[UUID, int], amount: int) -> tuple[list[Draw], int]:
    """As much of `amount` as there is in grants that have started, in draw order, and what is missing."""
    draws: list[Draw] = []
    for balance in purse:
        if amount <= 0:
            break
        part = min(amount, free[balance.account_id])
        if part > 0 and balance.started:
            draws.append(Draw(balance.account_id, part))
            amount -= part
    return draws, amount


def _covering(purse: Sequence[Balance], free: dict[UUID, int], amount: int) -> Balance | None:
    """The first budget that covers all of it, also one that begins later."""
    return next((balance for balance in purse if balance.kind == "budget" and free[balance.account_id] >= amount), None)


def split(draws: Iterable[tuple[str, int]], asked: Mapping[str, int]) -> list[int] | None:
    """How what is asked of each part (seconds, money, sponsor) falls on draws of `(part, most)`, in their order.

    None where a part does not hold that much, or less than nothing is asked of it.
    """
    left = dict(asked)
    shares: list[int] = []
    for part, most in draws:
        share = min(most, left[part])
        shares.append(share)
        left[part] -= share
    return shares if not any(left.values()) and min(asked.values()) >= 0 else None
