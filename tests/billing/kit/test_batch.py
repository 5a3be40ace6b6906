"""Group commit: who shares a flush, and who pays for whose failure."""

import asyncio
from collections.abc import Sequence

import pytest

from billing.kit.batch import Coalescer, CommitUnknown, Overloaded


class Flushes:
    """A flush that can be held up, and that fails as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failures: list[Exception] = []

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        if 13 in items:
            raise ZeroDivisionError
        return [ValueError(item) if item < 0 else item * 10 for item in items]


async def test_what_comes_during_a_flush_goes_together() -> None:
    flushes = Flushes()
    flushes.open.clear()
    one = Coalescer("test", flushes, rows_max=3)
    waiting = [one.submit(0)]
    await asyncio.sleep(0)  # the first flush has begun
    waiting += [one.submit(n) for n in range(1, 6)]
    flushes.open.set()
    assert await asyncio.gather(*waiting) == [0, 10, 20, 30, 40, 50]
    assert flushes.batches == [[0], [1, 2, 3], [4, 5]]


async def test_an_outcome_that_is_an_error_is_its_callers_alone() -> None:
    one = Coalescer("test", Flushes())
    outcomes = await asyncio.gather(one.submit(1), one.submit(-2), one.submit(3), return_exceptions=True)
    assert outcomes[0] == 10 and isinstance(outcomes[1], ValueError) and outcomes[2] == 30


async def test_one_that_breaks_the_batch_does_not_take_others_along() -> None:
    one = Coalescer("test", Flushes())
    outcomes = await asyncio.gather(*[one.submit(n) for n in (1, 13, 3)], return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (10, 30) and isinstance(outcomes[1], ZeroDivisionError)


async def test_a_lost_connection_sends_the_same_batch_again() -> None:
    flushes = Flushes()
    flushes.failures = [ConnectionError(), TimeoutError()]
    one = Coalescer("test", flushes)
    assert await asyncio.gather(one.submit(1), one.submit(2)) == [10, 20]
    assert flushes.batches == [[1, 2]] * 3


async def test_tries_are_bounded() -> None:
    flushes = Flushes()
    flushes.failures = [ConnectionError() for _ in range(9)]
    with pytest.raises(ConnectionError):
        await Coalescer("test", flushes, tries_max=2).submit(1)
    assert len(flushes.batches) == 2


async def test_a_doubt_outlives_tries_that_do_not_resolve_it() -> None:
    flushes = Flushes()
    flushes.failures = [CommitUnknown(), ConnectionError()]
    with pytest.raises(CommitUnknown):
        await Coalescer("test", flushes, tries_max=2).submit(1)
    flushes.failures = [CommitUnknown()]
    assert await Coalescer("test", flushes, tries_max=2).submit(1) == 10


async def test_a_caller_that_leaves_does_not_undo_the_write() -> None:
    flushes = Flushes()
    flushes.open.clear()
    one = Coalescer("test", flushes)
    leaving, staying = one.submit(1), one.submit(2)
    await asyncio.sleep(0)
    leaving.cancel()
    flushes.open.set()
    assert await staying == 20
    await one.close()
    assert flushes.batches == [[1, 2]]


async def test_too_many_waiting_are_refused_at_once() -> None:
    flushes = Flushes()
    flushes.open.clear()
    one = Coalescer("test", flushes, waiting_max=2)
    waiting = [one.submit(n) for n in range(2)]
    with pytest.raises(Overloaded):
        one.submit(2)
    flushes.open.set()
    assert await asyncio.gather(*waiting) == [0, 10]
