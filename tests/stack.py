"""The whole gateway as processes: Triton, the API, dispatch and clerk on one database, on free ports, always stopped.

    with running_stack(dsn, folder) as stack:
        customer = stack.customer()
        httpx.post(f"{stack.base_url}/v1/jobs", headers=customer.bearer, json={…})

Waits are readiness polls with a bound; nothing here sleeps for its own sake.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import msgspec

from billing.kit.pool import open_pool
from billing.kit.query import Conn
from billing.ledger.model import WalletState
from billing.ledger.verify import verify
from billing.ledger.wallets import top_up, wallets
from billing.pricing.book import publish
from gateway.access.keys import issue_key
from gateway.access.organizations import open_organization
from gateway.fleet.catalogue import load_models
from gateway.fleet.offers import load_prices
from gateway.local import triton
from gateway.settings import ReplicaSettings, Secret, Settings
from tests.conftest import free_port

Result = TypeVar("Result")

ROOT = Path(__file__).parents[1]
READY_S = 60.0
STOP_S = 10.0
LINK_SECRET = "a secret of the tests, long enough to sign with"

_LOAD = "import asyncio, os, signal; from gateway.settings import Settings; settings = Settings.load({}, os.environ); "
_UNTIL_TOLD = """
from {module} import {name}
async def main():
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await {name}(settings, stop)
asyncio.run(main())
"""
PROGRAMS: Mapping[str, str] = {
    "api": _LOAD + "from gateway.cli.server import run; run(settings)",
    "dispatch": _LOAD + _UNTIL_TOLD.format(module="gateway.dispatch", name="dispatch"),
    "clerk": _LOAD + _UNTIL_TOLD.format(module="gateway.clerk", name="clerk"),
}
"""What each role runs."""


class Process:
    """A child process and its log. `start` after `stop` or `kill` begins the same program anew."""

    def __init__(self, role: str, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.role, self.argv, self.environment, self.log = role, list(argv), dict(environment), log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.role} was not started"
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        assert not self.alive(), f"{self.role} runs already"
        with self.log.open("ab") as out:
            # A session of its own, so that what it started can be ended with it.
            self._popen = subprocess.Popen(
                self.argv, cwd=ROOT, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL to what is left of it after STOP_S; its exit status."""
        if self._popen is None:
            return None
        if self.alive():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_S)
        return self.kill()

    def kill(self) -> int | None:
        """SIGKILL to the process and whatever it started; its exit status."""
        if self._popen is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        return self._popen.wait(STOP_S)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Customer(msgspec.Struct, frozen=True):
    """An organization with money, and its keys."""

    org_id: UUID
    live: str
    test: str
    lenient: str

    @property
    def bearer(self) -> dict[str, str]:
        return bearer(self.live)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Stack:
    """The running processes by role (`triton`, `triton-1`, …, `api`, `dispatch`, `clerk`) and what reaches them."""

    def __init__(self, settings: Settings, processes: dict[str, Process]) -> None:
        self.settings, self.processes = settings, processes
        self.base_url = f"http://{settings.host}:{settings.port}"
        self.dsn = settings.dsn.reveal()

    def start(self, *roles: str) -> None:
        """Starts these, and returns when the API among them answers."""
        for role in roles:
            self.processes[role].start()
        if "api" in roles:
            self.wait(self._api_ready, "the API is ready")

    def wait(self, happened: Callable[[], bool], what: str, *, within_s: float = READY_S) -> None:
        """Returns once `happened` is true. Raises AssertionError, with the logs, when a process has died or time is up."""
        until = time.monotonic() + within_s
        while not happened():
            assert time.monotonic() < until, f"not within {within_s:.0f} s: {what}\n{self.logs()}"
            time.sleep(0.02)

    def logs(self) -> str:
        return "\n".join(f"--- {role}\n{process.text()[-4000:]}" for role, process in self.processes.items())

    def _api_ready(self) -> bool:
        assert self.processes["api"].alive(), f"the API has ended\n{self.logs()}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.base_url}/health/ready", timeout=5).is_success
        return False

    # -- money and keys ------------------------------------------------------------------------------------------------
    def database(self, work: Callable[[Conn], Coroutine[Any, Any, Result]]) -> Result:
        """Runs `work` in one transaction, also from inside a running event loop."""

        async def run() -> Result:
            one = await open_pool(self.dsn, name="tests", size_min=1, size_max=1)
            async with one as pool, pool.acquire() as conn, conn.transaction():
                return await work(conn)

        return beside(run())

    def customer(self, *, amount_micro: int = 1_000_000_000, currency: str = "CNY") -> Customer:
        """A new organization with `amount_micro` in its live wallet; its test wallet is play money."""

        async def open_one(conn: Conn) -> Customer:
            opened = await open_organization(conn, f"org-{uuid4().hex[:12]}", currency)
            if amount_micro:
                await top_up(conn, source=str(opened.id), customer_id=opened.id, asset=currency, amount_micro=amount_micro)
            _, live = await issue_key(conn, opened.id, name="live", livemode=True)
            _, test = await issue_key(conn, opened.id, name="test", livemode=False)
            _, lenient = await issue_key(conn, opened.id, name="lenient", livemode=True, lenient=True)
            return Customer(opened.id, live, test, lenient)

        return self.database(open_one)

    def wallet(self, customer: Customer, book: str = "live") -> WalletState:
        """The wallet as it is now, after the ledger was checked against itself."""

        async def look(conn: Conn) -> WalletState:
            assert await verify(conn) == []
            return next(wallet for wallet in await wallets(conn, customer.org_id) if wallet.book == book)

        return self.database(look)

    def job_count(self, customer: Customer) -> int:
        async def count(conn: Conn) -> int:
            return await conn.fetchval("SELECT count(*) FROM gateway.job WHERE org_id = $1", customer.org_id)

        return self.database(count)


def beside(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine on a loop of its own, in a thread of its own: the caller may be running one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=READY_S)


@contextlib.contextmanager
def running_stack(
    dsn: str,
    folder: Path,
    *,
    replicas: int = 1,
    slots: int = 2,
    models: Sequence[str] = ("testcard",),
    repositories: Sequence[Path] = (triton.BUNDLED_MODELS,),
    pace: str = "",
    roles: Sequence[str] = ("api", "dispatch", "clerk"),
    **overrides: object,
) -> Generator[Stack]:
    """Starts `replicas` Triton servers and `roles` on the migrated database `dsn`; publishes the catalogue's prices.

    `models` are the catalogue names each replica serves, `pace` is the test card's TESTCARD_PACE, `overrides` are fields
    of `Settings`. Everything is stopped on the way out, however that is.
    """
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_triton(folder / f"triton-{n}", repositories, pace)) for n in range(replicas)]
        fleet = tuple(ReplicaSettings(f"r{n}", url, tuple(models), slots) for n, (_, url) in enumerate(servers))
        settings = _settings(dsn, folder, fleet, overrides)
        environment = settings.environment() | {"PYTHONUNBUFFERED": "1"}
        processes = {"triton" if n == 0 else f"triton-{n}": process for n, (process, _) in enumerate(servers)}
        for role in ("api", "dispatch", "clerk"):
            argv = [sys.executable, "-c", PROGRAMS[role]]
            processes[role] = Process(role, argv, environment, folder / f"{role}.log")
            stack.callback(processes[role].stop)
        running = Stack(settings, processes)
        cards = load_prices(settings.catalogue_dir)

        async def put_in_force(conn: Conn) -> None:
            for card in cards:
                await publish(conn, card)

        running.database(put_in_force)
        for server, _ in servers:
            port = int(server.environment["TALLYLIGHT_TEST_TRITON_PORT"])
            beside(triton.wait_ready("127.0.0.1", port, timeout_s=READY_S, alive=server.alive))
        running.start(*roles)
        yield running


def _settings(dsn: str, folder: Path, fleet: tuple[ReplicaSettings, ...], overrides: Mapping[str, object]) -> Settings:
    fields: dict[str, Any] = {
        "dsn": Secret(dsn),
        "port": free_port(),
        "media_url": (folder / "media").as_uri(),
        "link_secret": Secret(LINK_SECRET),
        "webhook_secret": Secret(LINK_SECRET),
        "sign_in_secret": Secret(LINK_SECRET),
        "spool_dir": str(folder),
        "disk_free_min_bytes": 0,
        "metrics_dir": str(folder / "metrics"),
        "replicas": fleet,
        "poll_s": 0.2,
    }
    for name in ("media", "metrics"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fields |= overrides
    assert load_models(str(fields.get("catalogue_dir", "")))
    return Settings(**fields)


@contextlib.contextmanager
def _triton(work: Path, repositories: Sequence[Path], pace: str) -> Generator[tuple[Process, str]]:
    """A server that has been started, not awaited, and its gRPC endpoint."""
    work.mkdir(parents=True)
    http, grpc, metrics = free_port(), free_port(), free_port()
    argv, environment = triton.command(repositories, work, http_port=http, grpc_port=grpc, metrics_port=metrics)
    environment |= {"TALLYLIGHT_TEST_TRITON_PORT": str(http)} | ({"TESTCARD_PACE": pace} if pace else {})
    process = Process("triton", argv, environment, work / "triton.log")
    process.start()
    try:
        yield process, f"127.0.0.1:{grpc}"
    finally:
        process.kill()  # asked politely, it takes seconds; nothing of it outlives the test
        triton.cleanup(work)
