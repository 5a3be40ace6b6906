"""Parts sum to the whole, and none is a unit away from its share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kit.apportion import apportion, nearest

weights = st.lists(st.integers(0, 10**12), min_size=1, max_size=20).filter(any)


@given(st.integers(-(10**15), 10**15), weights)
def test_parts_sum_to_the_whole(total: int, given_weights: list[int]) -> None:
    parts = apportion(total, given_weights)
    assert sum(parts) == total
    for part, weight in zip(parts, given_weights, strict=True):
        assert abs(part * sum(given_weights) - total * weight) < sum(given_weights)


@given(st.lists(st.integers(-(10**13), 10**13), max_size=30), st.sampled_from([10_000, 1_000_000]))
def test_rounded_lines_sum_to_the_rounded_total(amounts: list[int], unit: int) -> None:
    lines, total = nearest(amounts, unit)
    assert sum(lines) == total
    assert abs(total * unit - sum(amounts)) * 2 <= unit
    assert all(abs(line * unit - amount) <= unit for line, amount in zip(lines, amounts, strict=True))


@pytest.mark.parametrize(
    "amounts,lines,total",
    [
        ([4_000] * 3, [1, 0, 0], 1),  # rounded one by one, three lines of 0.4 cents would be billed as nothing
        ([6_000] * 3, [1, 1, 0], 2),
        ([-4_000] * 3, [0, 0, -1], -1),
        ([5_000], [1], 1),
        ([-5_000], [-1], -1),
        ([10_000, -10_000], [1, -1], 0),
        ([], [], 0),
    ],
)
def test_rounding_to_minor_units(amounts: list[int], lines: list[int], total: int) -> None:
    assert nearest(amounts, 10_000) == (lines, total)


@pytest.mark.parametrize("bad", [[], [0, 0], [1, -1, 2]])
def test_weights_that_share_nothing_out(bad: list[int]) -> None:
    with pytest.raises(ValueError):
        apportion(1, bad)
