"""One cell on this machine as real processes: PostgreSQL, Triton, two APIs, two dispatchers and a clerk, each of which may die."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec

from billing.kit.migrate import migrate
from billing.kit.pool import open_pool, prepare
from billing.kit.query import Conn, Record
from billing.ledger.wallets import top_up
from billing.pricing.book import publish
from billing.pricing.model import ModelRates, RateCard
from gateway.access.keys import issue_key
from gateway.access.organizations import open_organization
from gateway.local import postgres, triton
from gateway.migrations import FOLDERS
from gateway.settings import ReplicaSettings, Secret, Settings
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
RATE_MICRO = 1_234_567
FUNDS_MICRO = 10**14
TIERS = {"priority": 20_000, "standard": 10_000, "flex": 5_000}
CARD = RateCard(
    "CNY",
    {name: ModelRates(RATE_MICRO, {"480p": 10_000, "720p": 10_000}, TIERS) for name in ("testcard", "faulty")},
)
READY_S = 30.0


class Account(msgspec.Struct, frozen=True):
    """A customer with money and keys for both books."""

    org_id: UUID
    live: str
    test: str


async def open_account(conn: Conn, name: str = "acme", funds_micro: int = FUNDS_MICRO) -> Account:
    async with conn.transaction():
        organization = await open_organization(conn, name, "CNY")
        await top_up(conn, source=f"first:{name}", customer_id=organization.id, asset="CNY", amount_micro=funds_micro)
        await publish(conn, CARD)
        _, live = await issue_key(conn, organization.id, name="live", livemode=True)
        _, test = await issue_key(conn, organization.id, name="test", livemode=False)
    return Account(organization.id, live, test)


class Zygote:
    """The process that starts all others (zygote.py)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self._turn = process, asyncio.Lock()

    @classmethod
    async def start(cls) -> "Zygote":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.zygote", cwd=ROOT, stdin=-1, stdout=-1, start_new_session=True
        )
        zygote = cls(process)
        assert (await zygote._answer())["ready"]
        return zygote

    async def ask(self, **request: object) -> dict[str, Any]:
        async with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_S):
            return json.loads(await self._process.stdout.readline())

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 10)


class Cell:
    """Processes by name; `start` and `kill` one at a time or several at once."""

    def __init__(
        self, folder: Path, zygote: Zygote, settings: Settings, cluster: postgres.LocalPostgres, ports: Sequence[int]
    ) -> None:
        self.folder, self.settings, self._zygote, self._cluster = folder, settings, zygote, cluster
        self._ports: dict[str, int] = dict(zip(("api-0", "api-1", "http", "grpc", "metrics"), ports, strict=True))
        self.pids: dict[str, int] = {}
        self.restarts = 0
        """How often a process ended by itself, as a gateway process does that finds no database when it starts."""
        self.account: Account
        (folder / "triton").mkdir()
        self._triton = triton.command(
            [triton.BUNDLED_MODELS], folder / "triton", http_port=ports[2], grpc_port=ports[3], metrics_port=ports[4]
        )

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self._ports[name]}" for name in ("api-0", "api-1")]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def connect(self) -> "asyncpg.Connection[Record]":
        """A connection to the cell's database, as soon as there is one."""
        conn = await connected(self.settings.dsn.reveal())
        await prepare(conn)
        return conn

    async def start(self, name: str) -> None:
        """Starts the process; from then on it starts again whenever it ends, until it is killed here."""
        if name not in self.pids:
            await self._spawn(name)

    async def _spawn(self, name: str) -> None:
        kind = name.partition("-")[0]
        environment = self.settings.environment()
        what: str | list[str] = kind
        match kind:
            case "postgres":
                what = self._cluster.command()
                environment = dict(os.environ)
            case "triton":
                what, environment = self._triton
                environment = environment | {"TMPDIR": str(self.folder / "triton")}
            case "api":
                environment = msgspec.structs.replace(self.settings, port=self._ports[name]).environment()
            case _:
                pass
        answer = await self._zygote.ask(start=what, environment=environment, log=str(self.log(name)))
        self.pids[name] = answer["pid"]

    async def kill(self, name: str) -> None:
        """SIGKILL, and it is gone when this returns. The model instances of Triton die with it."""
        answer = await self._zygote.ask(kill=self.pids.pop(name), group=name == "triton")
        assert answer["gone"], f"{name} survives SIGKILL"
        if name == "triton":
            triton.cleanup(self.folder / "triton")

    async def supervise(self) -> None:
        """Starts what ended without being told to, as a service manager does, until cancelled."""
        while True:
            await asyncio.sleep(0.05)
            living = (await self._zygote.ask(living=True))["living"]
            for name, pid in list(self.pids.items()):
                if pid not in living and self.pids.get(name) == pid:
                    self.restarts += 1
                    await self._spawn(name)

    def tails(self) -> str:
        """The last lines of every log."""
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:])
            for log in sorted(self.folder.glob("*.log"))
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pids[name], number)


async def answering(url: str) -> None:
    """Returns once the API answers."""
    async with asyncio.timeout(READY_S), httpx.AsyncClient(trust_env=False, timeout=2) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{url}/health/live")).status_code < 500:
                    return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def open_cell(folder: Path, *, dispatchers: int = 2, **changes: Any) -> AsyncGenerator[Cell]:
    """A cell whose account has money; `changes` are settings. Nothing of it is left afterwards."""
    ports = [free_port() for _ in range(6)]
    cluster = await asyncio.to_thread(postgres.prepare, folder / "postgres", ports[5], durable=True)
    settings = Settings(
        dsn=Secret(cluster.dsn_of("tallylight")),
        link_secret=Secret("x" * 32),
        media_url=f"file://{folder}/media",
        spool_dir=str(folder),
        disk_free_min_bytes=0,
        replicas=(ReplicaSettings(name="one", url=f"127.0.0.1:{ports[3]}", models=("testcard",), slots=2),),
    )
    zygote = await Zygote.start()
    cell = Cell(folder, zygote, msgspec.structs.replace(settings, **changes), cluster, ports[:5])
    supervisor = asyncio.create_task(cell.supervise())
    try:
        await _populate(cell, cluster, dispatchers)
        yield cell
    finally:
        supervisor.cancel()
        await asyncio.wait([supervisor])
        await zygote.close()
        triton.cleanup(folder / "triton")


async def _populate(cell: Cell, cluster: postgres.LocalPostgres, dispatchers: int) -> None:
    await cell.start("postgres")
    await cell.start("triton")
    conn = await connected(cluster.dsn_of("postgres"))
    await conn.execute("CREATE DATABASE tallylight")
    await conn.close()
    async with (
        await open_pool(cell.settings.dsn.reveal(), name="harness", size_min=1, size_max=1) as pool,
        pool.acquire() as conn,
    ):
        await migrate(conn, FOLDERS)
        cell.account = await open_account(conn)
    for name in ("api-0", "api-1", *(f"dispatch-{n}" for n in range(dispatchers)), "clerk"):
        await cell.start(name)
    for url in cell.urls:
        await answering(url)


async def connected(dsn: str) -> "asyncpg.Connection[Record]":
    async with asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return await asyncpg.connect(dsn, timeout=5)
            await asyncio.sleep(0.02)
