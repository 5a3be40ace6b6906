"""Allocation against a slow model that takes one unit after the other, and the draw order told as a table."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import BillingError, BudgetSpent, InsufficientFunds, UnknownWallet
from billing.kit.money import charge_micro
from billing.ledger.allocate import allocate
from billing.ledger.model import Balance, Draw, HoldRequest, Seconds, Sponsor

MONEY, SECONDS, BUDGET, NOWHERE = (UUID(int=n) for n in range(4))
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {MONEY: ["paid", "promo", "credit"], SECONDS: ["pack", "subscription", "allowance"], BUDGET: ["budget", "paid"]}
LAST = ["credit", "paid"]


def balance(
    account: int, kind: str = "paid", posted: int = 0, *, wallet: UUID = MONEY, priority: int = 0, expires: int | None = None,
    started: bool = True, created: int = 0, held: int = 0, floor: int = 0,
) -> Balance:  # fmt: skip
    return Balance(
        UUID(int=account), wallet, kind, priority, None, None if expires is None else EPOCH + timedelta(days=expires), started, False,
        None, 0, None, EPOCH + timedelta(seconds=created), posted, held, floor,
    )  # fmt: skip


@pytest.mark.parametrize(
    "first,then",
    [
        (balance(1, priority=-1), balance(2)),
        (balance(1, priority=0, expires=9), balance(2, priority=1, expires=1)),
        (balance(1, expires=1), balance(2, expires=2)),
        (balance(1, "credit", expires=1), balance(2, "promo")),
        (balance(1, "promo"), balance(2, "paid")),
        (balance(1, "promo", created=9), balance(2, "paid", created=1)),
        (balance(1, "promo", expires=3), balance(2, "paid", expires=3)),
        (balance(1, "paid"), balance(2, "credit")),
        (balance(1, "promo"), balance(2, "credit")),
        (balance(1, "paid", created=9), balance(2, "credit", created=1)),
        (balance(1, created=1), balance(2, created=2)),
        (balance(1), balance(2)),
    ],
)
def test_draw_order(first: Balance, then: Balance) -> None:
    import msgspec

    flipped = [
        msgspec.structs.replace(one, account_id=UUID(int=number), posted=5)
        for one, number in ((first, first.account_id.int), (then, then.account_id.int))
    ]
    for balances in (flipped, flipped[::-1]):
        (draws,) = allocate(balances, [HoldRequest(NOWHERE, MONEY, 7)])
        assert draws == (Draw(first.account_id, 5), Draw(then.account_id, 2))


def test_a_budget_covers_its_last_unit() -> None:
    balances = [balance(1, "budget", 5, wallet=BUDGET), balance(2, "allowance", 9, wallet=SECONDS)]
    asked = [HoldRequest(NOWHERE, MONEY, 0, Seconds(SECONDS, 3, 0), Sponsor(BUDGET, amount)) for amount in (6, 5, 1)]
    refused, held, late = allocate(balances, asked)
    assert isinstance(refused, BudgetSpent) and isinstance(late, BudgetSpent)
    assert held == (Draw(UUID(int=2), 3), Draw(UUID(int=1), 5))


@pytest.mark.parametrize("kind", ["pack", "subscription"])
def test_seconds_that_were_sold_need_no_sponsor(kind: str) -> None:
    balances = [balance(1, "budget", 5, wallet=BUDGET), balance(2, kind, 9, wallet=SECONDS), balance(3, posted=4)]
    asked = [HoldRequest(NOWHERE, MONEY, 4, seconds, Sponsor(BUDGET, 6)) for seconds in (Seconds(SECONDS, 9, 1000), None)]
    assert allocate(balances, asked) == [(Draw(UUID(int=2), 9),), (Draw(UUID(int=3), 4),)]


amounts = st.integers(0, 12)
balances = st.lists(
    st.tuples(st.sampled_from([MONEY, SECONDS, BUDGET]), st.integers(0, 2), amounts, amounts, st.integers(-5, 3), st.integers(-1, 1),
              st.one_of(st.none(), st.integers(1, 3)), st.booleans(), st.integers(0, 2)),
    max_size=8,
)  # fmt: skip
requests = st.lists(
    st.builds(
        HoldRequest, st.just(NOWHERE), st.sampled_from([MONEY, MONEY, MONEY, NOWHERE]), amounts,
        st.one_of(st.none(), st.builds(Seconds, st.sampled_from([SECONDS, NOWHERE]), amounts, st.integers(0, 1500))),
        st.one_of(st.none(), st.none(), st.builds(Sponsor, st.sampled_from([BUDGET, NOWHERE]), amounts)),
    ),
    max_size=8,
)  # fmt: skip


@given(balances, requests)
def test_every_decision_is_that_of_a_slow_model(
    rows: list[tuple[UUID, int, int, int, int, int, int | None, bool, int]], asked: list[HoldRequest]
) -> None:
    known = [
        balance(nth, KINDS[wallet][kind % len(KINDS[wallet])], posted, wallet=wallet, priority=priority, expires=expires,
                started=started, created=created, held=held, floor=floor)
        for nth, (wallet, kind, posted, held, floor, priority, expires, started, created) in enumerate(rows)
    ]  # fmt: skip
    left = {one.account_id: one.posted - one.held - one.floor for one in known}
    for request, outcome in zip(asked, allocate(known, asked), strict=True):
        expected = slowly(request, ordered(known), left)
        if isinstance(expected, type):
            assert isinstance(outcome, expected)
            continue
        assert outcome == tuple(expected)
        for draw in expected:
            left[draw.account_id] -= draw.amount


def ordered(known: list[Balance]) -> list[Balance]:
    """By the least important first: each later sort keeps the order of those it finds equal."""
    found = sorted(known, key=lambda one: one.account_id)
    found.sort(key=lambda one: one.created_at)
    found.sort(key=lambda one: -LAST.index(one.kind) if one.kind in LAST else -9)
    found.sort(key=lambda one: (one.expires_at is None, one.expires_at or EPOCH))
    found.sort(key=lambda one: one.priority)
    return found


def slowly(request: HoldRequest, known: list[Balance], left: dict[UUID, int]) -> list[Draw] | type[BillingError]:
    money, seconds = [one for one in known if one.wallet_id == request.wallet_id], request.seconds
    if any(one.posted - one.held < one.floor for one in money if one.kind == "paid"):
        return InsufficientFunds  # more was taken from it than it had
    draws = unit_by_unit(known, left, seconds.wallet_id, seconds.duration_ms) if seconds else []
    drawn_ms = sum(draw.amount for draw in draws)
    needed = (
        charge_micro(seconds.duration_ms - drawn_ms, seconds.rate_micro_per_s) if seconds and drawn_ms else request.amount_micro
    )
    if needed or not draws:
        if not money:
            return UnknownWallet
        paid = unit_by_unit(known, left, request.wallet_id, needed)
        if sum(draw.amount for draw in paid) < needed:
            return InsufficientFunds
        draws += paid or [Draw(money[0].account_id, 0)]
    allowances = {one.account_id for one in known if one.kind == "allowance"}
    if request.sponsor and any(draw.account_id in allowances for draw in draws):
        sponsor = request.sponsor
        budgets = [
            one for one in known
            if one.wallet_id == sponsor.wallet_id and one.kind == "budget" and left[one.account_id] >= sponsor.amount_micro
        ]  # fmt: skip
        if not budgets:
            return BudgetSpent
        draws.append(Draw(budgets[0].account_id, sponsor.amount_micro))
    return draws


def unit_by_unit(known: list[Balance], left: dict[UUID, int], wallet: UUID, amount: int) -> list[Draw]:
    taken: dict[UUID, int] = {}
    for _ in range(amount):
        for one in known:
            if one.wallet_id == wallet and one.started and left[one.account_id] > taken.get(one.account_id, 0):
                taken[one.account_id] = taken.get(one.account_id, 0) + 1
                break
    return [Draw(account, amount) for account, amount in taken.items()]


def test_a_wallet_that_was_taken_more_from_than_it_had_holds_nothing_of_any_kind() -> None:
    others = [balance(2, "promo", 100), balance(3, "credit", 100), balance(4, "pack", 9_000, wallet=SECONDS)]
    ask = [HoldRequest(NOWHERE, MONEY, 50), HoldRequest(NOWHERE, MONEY, 50, Seconds(SECONDS, 1_000, 50))]
    for posted, refused in ((0, False), (-1, True)):
        outcomes = allocate([balance(1, "paid", posted), *others], ask)
        assert [isinstance(outcome, InsufficientFunds) for outcome in outcomes] == [refused, refused]
