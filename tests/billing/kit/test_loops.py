"""Loops end together, whatever they make of being cancelled."""

import asyncio

import pytest

from billing.kit import loops
from billing.kit.loops import run_until


async def _for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def _once(stop: asyncio.Event) -> None:
    stop.set()
    await asyncio.Event().wait()


async def _swallowing(ended: list[str], stop: asyncio.Event) -> None:
    """As a library does whose own error meets the cancellation."""
    stop.set()
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("swallowed")
    await _for_ever(ended)


async def _failing() -> None:
    raise LookupError("this one")


async def test_all_loops_end_when_told() -> None:
    stop, ended = asyncio.Event(), list[str]()
    await run_until(stop, _once(stop), _for_ever(ended), _for_ever(ended))
    assert ended == ["cancelled", "cancelled"]


async def test_a_loop_that_swallows_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_AGAIN_S", 0.01)
    stop, ended = asyncio.Event(), list[str]()
    await run_until(stop, _swallowing(ended, stop))
    assert ended == ["swallowed", "swallowed", "cancelled"]


async def test_the_failure_of_one_ends_all() -> None:
    stop, ended = asyncio.Event(), list[str]()
    with pytest.raises(LookupError, match="this one"):
        await run_until(stop, _for_ever(ended), _failing())
    assert ended == ["cancelled"]
