"""Triton servers of unequal speed that a test may kill, hang and slow down."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.fleet.server import TritonServer
from gateway.local import triton
from gateway.local.rehearse import write_repository
from gateway.settings import ReplicaSettings
from tests.conftest import free_port

MODELS = ("testcard", "faulty")
"""The names of the workshop's catalogue; both are test cards here."""
_CHIP = """
[[accelerators]]
name = "{name}"
title = "made up"
vendor = "any"
memory_gib = 1
"""
_SPEED = """
[[speeds]]
model = "{model}"
accelerator = "{name}"
resolution = "480p"
seconds_per_second = {pace}
provenance = "estimated"
source = "made up"
"""


class Chip:
    """One server with both models in its repository and the first one loaded. `pace`: compute seconds per generated second;
    `price`: USD micro-units an hour.
    """

    def __init__(self, name: str, work: Path, pace: float, price: int) -> None:
        self.name, self.pace, self.price, self._work = name, pace, price, work
        work.mkdir()
        self._http, self._grpc, self._metrics = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def declared(self, kind: "Chip | None" = None) -> ReplicaSettings:
        """As a chip of its own kind, or as one of another's."""
        return ReplicaSettings(
            self.name, f"127.0.0.1:{self._grpc}", MODELS, accelerator=(kind or self).name.upper(),
            price_micro_usd_per_hour=(kind or self).price, loads=True, models_max=1,
        )  # fmt: skip

    def enter(self, catalogue: Path) -> None:
        """Its rows, as they should be."""
        with (catalogue / "accelerators.toml").open("a") as file:
            file.write(_CHIP.format(name=self.name.upper()))
        with (catalogue / "speeds.toml").open("a") as file:
            file.writelines(_SPEED.format(model=model, name=self.name.upper(), pace=self.pace) for model in MODELS)

    def start(self) -> None:
        repository = write_repository(self._work / "models", dict.fromkeys(MODELS, self.pace))
        argv, environment = triton.command(
            [repository], self._work, http_port=self._http, grpc_port=self._grpc, metrics_port=self._metrics, loaded=MODELS[:1]
        )
        with (self._work / "triton.log").open("ab") as log:
            self._process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)

    def ready(self) -> None:
        assert self._process is not None
        with ThreadPoolExecutor(1) as waiting:  # the test that asks may have a running event loop
            waiting.submit(lambda: asyncio.run(triton.wait_ready("127.0.0.1", self._http))).result()

    def send(self, number: signal.Signals) -> None:
        """To the server and all its instances."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self._process.wait(10)
        self._process = None
        triton.cleanup(self._work)

    async def set_pace(self, pace: float) -> None:
        write_repository(self._work / "models", dict.fromkeys(MODELS, pace))
        server = TritonServer(f"127.0.0.1:{self._grpc}")
        try:
            await server.load(MODELS[0], timeout_s=30.0)
        finally:
            await server.close()


@contextlib.contextmanager
def open_yard(work: Path, chips: Mapping[str, tuple[float, int]]) -> Generator[dict[str, Chip]]:
    """All of them by name, with their paces and prices, ready; they start side by side."""
    made = {name: Chip(name, work / name, pace, price) for name, (pace, price) in chips.items()}
    try:
        for chip in made.values():
            chip.start()
        for chip in made.values():
            chip.ready()
        yield made
    finally:
        for chip in made.values():
            chip.kill()
