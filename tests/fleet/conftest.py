"""A real Triton server with the reference model and the misbehaving ones, started once for the tests of the fleet."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from gateway.fleet.model import GenerateRequest
from gateway.fleet.server import TritonServer
from gateway.local import triton as launcher

FAULTY_MODELS = Path(__file__).parent / "models"


class RunningTriton(msgspec.Struct, frozen=True):
    """A Triton server process and where it answers."""

    pid: int
    url: str
    metrics_url: str
    log: Path

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a counter over the series that carry `labels`."""
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{") and all(w in line for w in wanted))


class StartTriton(Protocol):
    def __call__(self, models: Sequence[Path], **environment: str) -> AbstractContextManager[RunningTriton]: ...


@pytest.fixture(scope="session")
def start_triton(tmp_path_factory: pytest.TempPathFactory) -> StartTriton:
    """Start a server of one's own for a test that breaks it."""

    @contextlib.contextmanager
    def start(models: Sequence[Path], **extra: str) -> Generator[RunningTriton]:
        work = tmp_path_factory.mktemp("triton")
        http, grpc, metrics = _free_ports(3)
        argv, environment = launcher.command(models, work, http_port=http, grpc_port=grpc, metrics_port=metrics)
        log = work / "triton.log"
        with log.open("wb") as out:
            # A session of its own, so that the instances, which are its children, can be ended with it.
            process = subprocess.Popen(argv, env=environment | extra, stdout=out, stderr=out, start_new_session=True)
        try:
            # In a thread of its own: the test that asks may have a running event loop.
            with ThreadPoolExecutor(1) as waiting:
                waiting.submit(
                    lambda: asyncio.run(launcher.wait_ready("127.0.0.1", http, alive=lambda: process.poll() is None))
                ).result()
            yield RunningTriton(process.pid, f"127.0.0.1:{grpc}", f"http://127.0.0.1:{metrics}/metrics", log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            launcher.cleanup(work)

    return start


@pytest.fixture(scope="session")
def triton(start_triton: StartTriton) -> Iterator[RunningTriton]:
    with start_triton([launcher.BUNDLED_MODELS, FAULTY_MODELS]) as running:
        yield running


@pytest.fixture
async def server(triton: RunningTriton) -> AsyncIterator[TritonServer]:
    connection = TritonServer(triton.url)
    yield connection
    await connection.close()


@pytest.fixture
def request_for() -> Callable[..., GenerateRequest]:
    """A small request; keyword arguments replace what a test is about."""

    def build(**changes: object) -> GenerateRequest:
        small = GenerateRequest(
            job_id="job_1",
            attempt=1,
            prompt="A lighthouse at dusk",
            negative_prompt="blurry",
            seed=7,
            width=320,
            height=180,
            fps=24,
            frames=12,
            auto_length=False,
            guidance=5.0,
            steps=20,
            audio=False,
        )
        return msgspec.structs.replace(small, **changes)

    return build


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
