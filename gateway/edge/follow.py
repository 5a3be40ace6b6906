"""Wait for a job without owning it: a client may ask to be answered only once its job has ended (RFC 7240)."""

import asyncio
from time import monotonic

from gateway.access.model import Caller
from gateway.context import Gateway
from gateway.edge.caller import HttpRequest, gateway_of, read_job
from gateway.video import FINAL, Job

WAIT_MAX_S = 60
"""The longest a request is kept waiting, below the idle timeout of common proxies and load balancers."""


def preferred_wait_s(request: HttpRequest) -> int | None:
    """The seconds of `Prefer: wait=N`, WAIT_MAX_S for a bare `wait` or more; None where it is absent or cannot be read.

    A preference is never an error (RFC 7240 §2).
    """
    for name, raw in request.scope["headers"]:
        for preference in raw.decode("latin-1").split(",") if name == b"prefer" else ():
            token, equals, value = preference.partition(";")[0].partition("=")
            if token.strip().lower() != "wait":
                continue
            seconds = value.strip().strip('"')
            if not equals:
                return WAIT_MAX_S
            if seconds.isascii() and seconds.isdigit():
                return min(int(seconds), WAIT_MAX_S) if len(seconds) <= 9 else WAIT_MAX_S
    return None


def next_change(gateway: Gateway) -> "asyncio.Task[bool]":
    """Done once some job has changed, or after `poll_s`.

    Make it before reading, so that no change between the reading and the waiting is missed; cancel it in a `finally`.
    """
    return asyncio.create_task(gateway.changes.wait(gateway.changes.rung, gateway.settings.poll_s))


async def final_or_later(request: HttpRequest, caller: Caller, job_id: str, wait_s: int) -> Job:
    """The job once it has ended, or as it is after `wait_s`, or when the client or this process goes away.

    Raises NotFound, also for a job that is deleted meanwhile.
    """
    gateway = gateway_of(request)
    until = monotonic() + wait_s
    gone = asyncio.create_task(_gone(request))
    try:
        while True:
            changed = next_change(gateway)
            try:
                job = await read_job(request, caller, job_id)
                left_s = until - monotonic()
                if job.state in FINAL or left_s <= 0 or gone.done() or gateway.closing.is_set():
                    return job
                await asyncio.wait({changed, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
    finally:
        gone.cancel()


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
