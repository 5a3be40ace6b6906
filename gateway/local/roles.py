"""The processes of one machine, each as the supervisor needs it: what to run, when it is ready, how it stops."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import httpx

import gateway
from gateway.local import postgres, triton
from gateway.local.folder import DataFolder
from gateway.local.ports import free_port
from gateway.local.postgres import LocalPostgres
from gateway.local.rehearse import Chip, chip_paces, write_repository
from gateway.local.supervise import Launch, Role
from gateway.settings import ReplicaSettings, Settings
from gateway.telemetry.multiprocess import VARIABLE as METRICS_VARIABLE

TESTCARD = "testcard"
TESTCARD_INSTANCES = 2
INSTANCES_LOOK_S = 1.0
ROOT = Path(gateway.__file__).parents[1]


def postgres_role(cluster: LocalPostgres) -> Role:
    async def command() -> Launch:
        await postgres.settle_leftovers(cluster)
        return Launch(cluster.server(), os.environ, cluster.data, cluster.become())

    async def ready(_pid: int) -> None:
        await postgres.answers(cluster.dsn_of("postgres"))

    return Role(
        name="postgres",
        title="PostgreSQL",
        command=command,
        ready=ready,
        ready_s=120.0,  # after a kill it first reads its log
        stop_signal=signal.SIGINT,
        stop_s=1.5,
        orphan_signal=signal.SIGINT,
    )


class Triton:
    """A local model server: with the bundled test card, or as a chip of the demo fleet."""

    def __init__(self, work: Path, chip: Chip | None = None) -> None:
        self._work, self._chip = work, chip
        self.name = f"triton-{chip.name}" if chip else "triton"
        self.http_port = free_port()
        self.grpc_port = free_port(not_one_of=frozenset({self.http_port}))
        self.metrics_port = free_port(not_one_of=frozenset({self.http_port, self.grpc_port}))

    def replica(self) -> ReplicaSettings:
        url, chip = f"127.0.0.1:{self.grpc_port}", self._chip
        if chip is None:
            return ReplicaSettings("local", url, (TESTCARD,), TESTCARD_INSTANCES)
        price = chip.price_micro_usd_per_hour
        return ReplicaSettings(chip.name, url, chip.models, chip.slots, chip.accelerator, price, True, chip.models_max)

    def role(self) -> Role:
        return Role(
            name=self.name,
            title=f"Triton on {self._chip.name}" if self._chip else "Triton",
            command=self._command,
            ready=self._ready,
            broken=self._broken,
            ended=lambda: triton.cleanup(self._work),
            stop_s=2.0,
        )

    async def _command(self) -> Launch:
        triton.cleanup(self._work)  # of a run that was killed
        self._work.mkdir(exist_ok=True)
        models = triton.BUNDLED_MODELS
        if self._chip is not None:
            models = write_repository(self._work / "models", chip_paces(self._chip), instances=self._chip.slots)
        argv, environment = triton.command(
            [models],
            self._work,
            http_port=self.http_port,
            grpc_port=self.grpc_port,
            metrics_port=self.metrics_port,
            loaded=self._chip.loaded if self._chip else None,
        )
        return Launch(argv, environment, self._work)

    async def _ready(self, _pid: int) -> None:
        await triton.wait_ready("127.0.0.1", self.http_port, timeout_s=60.0)

    async def _broken(self, pid: int) -> str:
        """Triton does not start a dead instance again, and goes on sending it work.

        Where models come and go their number says nothing; there the dispatcher's breakers find out.
        """
        if self._chip is not None:
            await asyncio.Event().wait()
        whole = triton.instances(pid)
        while triton.instances(pid) >= whole:  # noqa: ASYNC110 - no events come from there
            await asyncio.sleep(INSTANCES_LOOK_S)
        return "lost a model instance"


def gateway_role(name: str, title: str, settings: Settings, folder: DataFolder, *, needs: tuple[str, ...]) -> Role:
    """One of our own processes: `serve`, `dispatch` or `clerk`, with these settings."""
    environment = settings.environment() | {
        METRICS_VARIABLE: str(folder.metrics),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
    }

    async def command() -> Launch:
        return Launch([sys.executable, "-P", "-m", "gateway", name], environment, folder.path)

    def ended() -> None:
        if name == "dispatch":
            for left in folder.spool.iterdir():
                shutil.rmtree(left, ignore_errors=True)

    async def ready(_pid: int) -> None:
        if name == "serve":
            await _api_ready(settings.host, settings.port)

    stop_s = {"serve": 3.5, "dispatch": 2.5, "clerk": 2.5}[name]
    return Role(name=name, title=title, command=command, ready=ready, ended=ended, needs=needs, stop_s=stop_s)


async def _api_ready(host: str, port: int) -> None:
    url = f"http://{reachable(host)}:{port}/health/ready"
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).is_success:
                    return
            await asyncio.sleep(0.05)


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`, as it stands in a URL."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - compared with, not listened on
        return "127.0.0.1"
    return "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
