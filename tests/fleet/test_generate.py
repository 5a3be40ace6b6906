"""One attempt against a real server, when everything goes right and when anything goes wrong."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import Protocol

import pytest

from gateway.fleet.errors import (
    AttemptFailed,
    BackendFailed,
    BackendStalled,
    BackendUnreachable,
    ContractBroken,
    DeadlineExceeded,
    RequestRefused,
)
from gateway.fleet.model import Event, GenerateRequest, Progress, StoredObject
from gateway.fleet.server import TritonServer
from gateway.local import triton as launcher

RequestFor = Callable[..., GenerateRequest]
LONG = {"width": 1280, "height": 720, "frames": 24 * 120}
"""Takes 10 s and more to render, longer than a test waits."""


class Running(Protocol):
    pid: int
    url: str

    def metric(self, name: str, **labels: str) -> float: ...


class StartTriton(Protocol):
    def __call__(self, models: Sequence[Path], **environment: str) -> AbstractContextManager[Running]: ...


async def run(
    server: TritonServer, request: GenerateRequest, *, model: str = "faulty", stall_s: float = 10, deadline_s: float = 30
) -> list[Event]:
    async with aclosing(server.generate(model, request, stall_s=stall_s, deadline_s=deadline_s)) as events:
        return [event async for event in events]


async def until(condition: Callable[[], bool], *, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "fault,error,retryable",
    [
        ("invalid", RequestRefused, False),
        ("error", BackendFailed, True),
        ("no_final", ContractBroken, True),
        ("final_progress", ContractBroken, True),
        ("final_early", ContractBroken, True),
        ("big_chunk", ContractBroken, True),
        ("huge_chunk", ContractBroken, True),
        ("empty_chunk", ContractBroken, True),
        ("backwards", ContractBroken, True),
        ("progress_after_chunk", ContractBroken, True),
        ("chunk_then_object", ContractBroken, True),
        ("object_then_chunk", ContractBroken, True),
        ("unknown_kind", ContractBroken, True),
        ("foreign_key", ContractBroken, True),
    ],
)
async def test_a_fault_has_one_error(
    server: TritonServer, request_for: RequestFor, fault: str, error: type[AttemptFailed], *, retryable: bool
) -> None:
    with pytest.raises(error) as failed:
        await run(server, request_for(prompt=f"fault:{fault}"))
    assert type(failed.value) is error
    assert failed.value.retryable is retryable


async def test_a_refusal_carries_the_models_reason_alone(server: TritonServer, request_for: RequestFor) -> None:
    with pytest.raises(RequestRefused) as refused:
        await run(server, request_for(prompt="fault:invalid"))
    assert refused.value.message == "this model cannot draw lighthouses"


async def test_a_stored_object_ends_the_attempt(server: TritonServer, request_for: RequestFor) -> None:
    events = await run(server, request_for(prompt="fault:object", job_id="job_9"))
    assert events == [Progress(0, 12), StoredObject("uploads/job_9/1.mp4")]


@pytest.mark.parametrize("fault,heard", [("silent", []), ("stall@3", [Progress(0, 12), Progress(3, 12)])])
async def test_silence_is_a_stall(server: TritonServer, request_for: RequestFor, fault: str, heard: list[Event]) -> None:
    events: list[Event] = []

    async def listen() -> None:
        async for event in server.generate("faulty", request_for(prompt=f"fault:{fault}"), stall_s=0.5, deadline_s=30):
            events.append(event)  # noqa: PERF401 - a comprehension would lose what came before the error

    with pytest.raises(BackendStalled):
        await listen()
    assert events == heard


async def test_progress_does_not_extend_the_deadline(server: TritonServer, request_for: RequestFor) -> None:
    with pytest.raises(DeadlineExceeded):
        await run(server, request_for(**LONG), model="testcard", stall_s=10, deadline_s=0.7)


async def test_an_unknown_model_fails_and_is_not_ready(server: TritonServer, request_for: RequestFor) -> None:
    with pytest.raises(BackendFailed, match="unknown model"):
        await run(server, request_for(), model="nowhere")
    assert not await server.ready("nowhere")
    assert await server.ready("testcard")


async def test_nobody_listening_is_unreachable_and_not_ready(request_for: RequestFor) -> None:
    server = TritonServer("127.0.0.1:1")
    with pytest.raises(BackendUnreachable):
        await run(server, request_for())
    assert not await server.ready("testcard")
    await server.close()
    assert not await server.ready("testcard")


async def test_closing_the_connection_fails_a_running_attempt(triton: Running, request_for: RequestFor) -> None:
    server = TritonServer(triton.url)
    events = server.generate("testcard", request_for(**LONG), stall_s=10, deadline_s=30)
    await anext(events)
    await server.close()
    with pytest.raises(BackendUnreachable):
        async for _ in events:
            pass


async def test_what_cannot_be_encoded_is_refused_before_anything_is_sent(request_for: RequestFor) -> None:
    server = TritonServer("127.0.0.1:1")
    with pytest.raises(RequestRefused):
        await run(server, request_for(prompt="\ud800"))
    await server.close()


class TestCancellation:
    """`held` runs until its caller goes away, so a request that ends was cancelled inside the model."""

    async def test_closing_the_iterator_stops_the_model(
        self, triton: Running, server: TritonServer, request_for: RequestFor
    ) -> None:
        ended = _ended(triton)
        async with aclosing(server.generate("faulty", request_for(prompt="fault:held"), stall_s=10, deadline_s=60)) as events:
            await anext(events)
            assert _ended(triton) == ended
        await until(lambda: _ended(triton) > ended)

    async def test_cancelling_the_task_stops_the_model(
        self, triton: Running, server: TritonServer, request_for: RequestFor
    ) -> None:
        ended, heard = _ended(triton), asyncio.Event()

        async def attempt() -> None:
            async for _ in server.generate("faulty", request_for(prompt="fault:held"), stall_s=10, deadline_s=60):
                heard.set()

        task = asyncio.create_task(attempt())
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: _ended(triton) > ended)

    async def test_a_stall_stops_the_model(self, triton: Running, server: TritonServer, request_for: RequestFor) -> None:
        ended = _ended(triton)
        with pytest.raises(BackendStalled):
            await run(server, request_for(prompt="fault:held"), stall_s=0.3)
        await until(lambda: _ended(triton) > ended)

    async def test_an_outer_timeout_is_the_callers_own(self, server: TritonServer, request_for: RequestFor) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await run(server, request_for(prompt="fault:held"))

    async def test_the_test_card_stops_while_it_renders(
        self, triton: Running, server: TritonServer, request_for: RequestFor
    ) -> None:
        ended = _ended(triton, "testcard")
        async with aclosing(server.generate("testcard", request_for(**LONG), stall_s=10, deadline_s=60)) as events:
            await anext(events)
        await until(lambda: _ended(triton, "testcard") > ended, within_s=4)


def _ended(triton: Running, model: str = "faulty") -> float:
    """Requests the model has finished, whatever their end: Triton 2.51 counts a cancelled one as a success."""
    return sum(triton.metric(f"nv_inference_request_{outcome}", model=model) for outcome in ("success", "failure"))


async def test_a_server_killed_in_the_middle_is_unreachable(start_triton: StartTriton, request_for: RequestFor) -> None:
    with start_triton([launcher.BUNDLED_MODELS]) as running:
        server = TritonServer(running.url)
        events = server.generate("testcard", request_for(**LONG), stall_s=10, deadline_s=30)
        await anext(events)
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(BackendUnreachable):
            async for _ in events:
                pass
        assert not await server.ready("testcard")
        await server.close()


async def test_a_slow_chip_can_be_rehearsed_and_still_stops_at_once(start_triton: StartTriton, request_for: RequestFor) -> None:
    with start_triton([launcher.BUNDLED_MODELS], TESTCARD_PACE="600") as running:
        server = TritonServer(running.url)
        async with aclosing(server.generate("testcard", request_for(frames=24), stall_s=10, deadline_s=60)) as events:
            assert [await anext(events), await anext(events)] == [Progress(0, 24), Progress(0, 24)]
        await until(lambda: _ended(running, "testcard") == 1, within_s=4)
        await server.close()


async def test_a_crashed_instance_fails_its_request_and_is_missed_by_the_supervisor(
    start_triton: StartTriton, request_for: RequestFor
) -> None:
    with start_triton([Path(__file__).parent / "models"]) as running:
        server = TritonServer(running.url)
        before = launcher.instances(running.pid)
        with pytest.raises(BackendFailed):
            await run(server, request_for(prompt="fault:crash@3"))
        assert len(launcher.instances(running.pid)) == len(before) - 1
        await server.close()
