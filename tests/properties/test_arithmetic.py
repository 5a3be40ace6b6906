"""What holds for every amount, every wallet and every request."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kit.money import charge_micro, format_micro, parse_micro
from billing.ledger.allocate import allocate, split_capture
from billing.ledger.model import Balance, HoldRequest
from gateway.access.model import new_token, well_formed
from gateway.video import parse_public_id, public_id, resolution_class

WALLETS = [UUID(int=n) for n in range(3)]
amounts = st.integers(0, 10**12)
balances = st.lists(
    st.builds(Balance, st.uuids(), st.sampled_from(WALLETS), amounts, st.just(0), st.just(0)),
    max_size=6,
    unique_by=lambda b: b.account_id,
)
requests = st.lists(st.builds(HoldRequest, st.uuids(), st.sampled_from(WALLETS), amounts), max_size=12)


@given(balances, requests)
def test_holds_are_decided_in_order_and_never_overdraw(held: list[Balance], wanted: list[HoldRequest]) -> None:
    free = {wallet: sum(b.free_micro for b in held if b.wallet_id == wallet) for wallet in WALLETS}
    accounts = {b.account_id: b.free_micro for b in held}
    for request, draws in zip(wanted, allocate(held, wanted), strict=True):
        has_account = any(b.wallet_id == request.wallet_id for b in held)
        assert (draws is not None) == (has_account and request.amount_micro <= free[request.wallet_id])
        for draw in draws or ():
            accounts[draw.account_id] -= draw.amount_micro
        if draws is not None:
            assert sum(draw.amount_micro for draw in draws) == request.amount_micro
            free[request.wallet_id] -= request.amount_micro
    assert all(left >= 0 for left in accounts.values())


@given(st.lists(amounts, min_size=1, max_size=5), st.data())
def test_a_capture_falls_on_the_draws_in_order(held: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(held)))
    parts = split_capture(held, amount)
    assert sum(parts) == amount
    assert all(0 <= part <= most for part, most in zip(parts, held, strict=True))
    first_short = next((i for i, (part, most) in enumerate(zip(parts, held, strict=True)) if part < most), len(held))
    assert not any(parts[first_short + 1 :])


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**10))
def test_a_charge_never_falls_when_time_grows(first_ms: int, second_ms: int, rate: int) -> None:
    shorter, longer = sorted((first_ms, second_ms))
    assert 0 <= charge_micro(shorter, rate) <= charge_micro(longer, rate)
    assert charge_micro(longer, rate) * 1000 <= longer * rate < (charge_micro(longer, rate) + 1) * 1000


@given(st.integers(-(10**15), 10**15))
def test_amounts_survive_writing(amount: int) -> None:
    assert parse_micro(format_micro(amount, "CNY").replace("¥", "").replace(",", "")) == amount


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
