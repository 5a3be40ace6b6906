"""What holds for every amount, every wallet and every request."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kit.money import charge_micro, format_amount, format_micro, parse_micro
from billing.ledger.allocate import allocate, split
from billing.ledger.model import Balance, HoldRequest
from gateway.access.model import new_token, well_formed
from gateway.video import parse_public_id, public_id, resolution_class

WALLETS = [UUID(int=n) for n in range(3)]
amounts = st.integers(0, 10**12)


def balance(account_id: UUID, wallet: UUID, posted: int) -> Balance:
    return Balance(
        account_id, wallet, "paid", 0, None, None, True, False, None, 0, None, datetime.fromtimestamp(0, UTC), posted, 0, 0
    )


balances = st.lists(
    st.builds(balance, st.uuids(), st.sampled_from(WALLETS), amounts), max_size=6, unique_by=lambda b: b.account_id
)
requests = st.lists(st.builds(HoldRequest, st.uuids(), st.sampled_from(WALLETS), amounts), max_size=12)


@given(balances, requests)
def test_holds_are_decided_in_order_and_never_overdraw(held: list[Balance], wanted: list[HoldRequest]) -> None:
    free = {wallet: sum(b.free for b in held if b.wallet_id == wallet) for wallet in WALLETS}
    accounts = {b.account_id: b.free for b in held}
    for request, draws in zip(wanted, allocate(held, wanted), strict=True):
        has_account = any(b.wallet_id == request.wallet_id for b in held)
        assert isinstance(draws, tuple) == (has_account and request.amount_micro <= free[request.wallet_id])
        if isinstance(draws, tuple):
            for draw in draws:
                accounts[draw.account_id] -= draw.amount
            assert sum(draw.amount for draw in draws) == request.amount_micro
            free[request.wallet_id] -= request.amount_micro
    assert all(left >= 0 for left in accounts.values())


@given(st.lists(st.tuples(st.sampled_from(["seconds", "money", "sponsor"]), amounts), max_size=6), st.data())
def test_what_is_asked_falls_on_the_draws_in_order(draws: list[tuple[str, int]], data: st.DataObject) -> None:
    most = {part: sum(amount for other, amount in draws if other == part) for part in ("seconds", "money", "sponsor")}
    asked = {part: data.draw(st.integers(-1, total + 1)) for part, total in most.items()}
    shares = split(draws, asked)
    assert (shares is not None) == all(0 <= asked[part] <= most[part] for part in most)
    for part in most:
        if shares is None:
            continue
        own = [(share, amount) for share, (other, amount) in zip(shares, draws, strict=True) if other == part]
        assert sum(share for share, _ in own) == asked[part]
        assert all(0 <= share <= amount for share, amount in own)
        first_short = next((i for i, (share, amount) in enumerate(own) if share < amount), len(own))
        assert not any(share for share, _ in own[first_short + 1 :])


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**10))
def test_a_charge_never_falls_when_time_grows(first_ms: int, second_ms: int, rate: int) -> None:
    shorter, longer = sorted((first_ms, second_ms))
    assert 0 <= charge_micro(shorter, rate) <= charge_micro(longer, rate)
    assert charge_micro(longer, rate) * 1000 <= longer * rate < (charge_micro(longer, rate) + 1) * 1000


@given(st.integers(-(10**15), 10**15))
def test_amounts_survive_writing(amount: int) -> None:
    assert parse_micro(format_micro(amount, "CNY").replace("¥", "").replace(",", "")) == amount


@pytest.mark.parametrize(
    "amount,asset,text",
    [
        (-1_500_000, "CNY", "-¥1.50"),
        (0, "SEC:h100", "0.000 s"),
        (-1_234_567, "SEC:h100", "-1,234.567 s"),
        (5, "SEC:a", "0.005 s"),
    ],
)
def test_amounts_are_written_in_their_asset(amount: int, asset: str, text: str) -> None:
    assert format_amount(amount, asset) == text


@given(st.text(max_size=20))
def test_no_text_is_an_amount_by_accident(text: str) -> None:
    try:
        amount = parse_micro(text)
    except ValueError:
        return
    assert isinstance(amount, int) and set(text.strip()) <= set("-.0123456789")


@given(st.uuids())
def test_job_ids_survive_and_nothing_else_is_one(job: UUID) -> None:
    assert parse_public_id(public_id(job)) == job
    assert len(public_id(job)) <= 40
    for wrong in (public_id(job).upper(), public_id(job)[:-1], public_id(job) + "0", str(job), "job_" + "g" * 32):
        assert parse_public_id(wrong) is None


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_larger_picture_is_never_in_a_cheaper_class(width: int, height: int) -> None:
    order = ["480p", "720p", "1080p"]
    assert order.index(resolution_class(width, height)) <= order.index(resolution_class(width + 1, height))


@pytest.mark.parametrize("livemode", [True, False])
def test_keys_carry_a_checksum(livemode: bool) -> None:
    token = new_token(livemode=livemode)
    assert well_formed(token)
    for at in (9, 20, len(token) - 1):
        assert not well_formed(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :])
