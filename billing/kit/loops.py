"""Endless loops that stop together."""

import asyncio
from collections.abc import Coroutine
from typing import Any

_AGAIN_S = 1.0


async def run_until(stop: asyncio.Event, *loops: Coroutine[Any, Any, None]) -> None:
    """Runs `loops` until `stop` is set or one of them fails; then all are cancelled and a failure is raised.

    A library may swallow a cancellation that meets an error of its own, so a loop that goes on is cancelled again.
    """
    tasks = [asyncio.create_task(loop) for loop in loops]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    running = {stopped, *tasks} - done
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
    for task in tasks:
        if task in done:
            task.result()
