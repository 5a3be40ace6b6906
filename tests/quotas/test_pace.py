"""How fast one key may read: a bucket for each, none of them for ever."""

import pytest

from billing.kit.ids import new_id
from gateway.errors import RateLimited
from gateway.quotas.pace import ReadPace


def reads(pace: ReadPace, key: object, now_s: float, most: int = 1000) -> int:
    """How many are answered at that moment."""
    for count in range(most):
        try:
            pace.take(key, now_s)  # pyright: ignore[reportArgumentType] – anything that can be told apart is a key
        except RateLimited:
            return count
    return most


def test_two_seconds_worth_at_once_and_then_as_many_as_time_brings() -> None:
    pace, key = ReadPace(8), new_id()
    assert reads(pace, key, 100.0) == 16
    assert reads(pace, key, 100.5) == 4
    assert reads(pace, key, 200.0) == 16


def test_each_key_has_its_own() -> None:
    pace = ReadPace(8)
    assert [reads(pace, key, 100.0) for key in (new_id(), new_id())] == [16, 16]


def test_without_a_limit_all_are_answered() -> None:
    assert reads(ReadPace(0), new_id(), 100.0, most=50) == 50


@pytest.mark.parametrize("later_s, left", [(0.0, 16), (0.5, 4)])
def test_memory_is_bounded_and_those_who_are_still_behind_are_remembered(later_s: float, left: int) -> None:
    pace, behind = ReadPace(8, keys_max=3), new_id()
    pace.take(new_id(), 100.0)
    pace.take(new_id(), 100.0)
    reads(pace, behind, 100.0)
    pace.take(new_id(), 100.0 + later_s)  # a fourth: the two others have been full again for a while, or nobody has
    assert reads(pace, behind, 100.0 + later_s) == left
    assert len(pace._full_at) <= 3
