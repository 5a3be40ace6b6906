"""One customer, one real Triton and dispatchers in this process: what the stories of dispatch are told with."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from billing.kit.ids import new_id
from billing.kit.query import Pool, Record
from billing.ledger.verify import verify
from billing.pricing.book import PriceBook
from gateway.access.authenticate import Authenticator
from gateway.access.uses import KeyUses
from gateway.admit import Admission
from gateway.clerk import clerk
from gateway.dispatch import dispatch
from gateway.fleet.catalogue import PACKAGED
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.promises.quotes import Quotes
from gateway.jobs.verify import verify_jobs
from gateway.local import triton
from gateway.settings import ReplicaSettings, Secret, Settings
from gateway.submission import submission
from gateway.video import Artifact, VideoRequest
from tests.conftest import free_port
from tests.faults.harness import Account, answering, open_account
from tests.stack import PROGRAMS, Process

FAULTY_MODELS = Path(__file__).parents[1] / "fleet" / "models"
SOON_S = 30.0
ROW = """
    {name = "%s", triton_model = "%s", title = "x", edge_min = 64, edge_max = 1920, edge_step = 2, pixels_max = 2088960,
     fps = [16, 24], fps_default = 16, size_default = "128x72", seconds_min = 0.1, seconds_max = 60.0, seconds_default = 0.5,
     auto_length = true, audio = true, roles = ["first_frame", "last_frame", "reference"], steps_default = 1, steps_max = 100,
     guidance_default = 1.0, memory_gib = 1, load_s = 0.1, licence = "none"},
"""
_ROWS = "".join(" ".join((ROW % (name, name)).split()) + "\n" for name in ("testcard", "faulty"))
CATALOGUE = f'default_model = "testcard"\nmodels = [{_ROWS}]\n'
SPEEDS = "".join(
    f'[[speeds]]\nmodel = "{name}"\naccelerator = "cpu"\nresolution = "480p"\nseconds_per_second = 0.1\n'
    'provenance = "estimated"\nsource = "made up"\n'
    for name in ("testcard", "faulty")
)


class Triton(msgspec.Struct, frozen=True):
    pid: int
    port: int
    http_port: int
    metrics_port: int

    def ended(self, model: str) -> float:
        """Requests the model has finished, whatever their end: Triton 2.51 counts a cancelled one as a success."""
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        names = ("nv_inference_request_success{", "nv_inference_request_failure{")
        return sum(float(line.split()[-1]) for line in lines if line.startswith(names) and f'model="{model}"' in line)


@contextmanager
def running_triton(work: Path, **environment: str) -> Generator[Triton]:
    """A server with the test card and the misbehaving models. Waits for it outside any running loop."""
    http, grpc, metrics = free_port(), free_port(), free_port()
    argv, env = triton.command([triton.BUNDLED_MODELS, FAULTY_MODELS], work, http_port=http, grpc_port=grpc, metrics_port=metrics)
    with (work / "triton.log").open("wb") as log:
        server = subprocess.Popen(
            argv, env=env | {"TMPDIR": str(work)} | environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield Triton(server.pid, grpc, http, metrics)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
        triton.cleanup(work)


class Workshop:
    """Orders go in through admission, videos come out through dispatch; a clerk runs beside it."""

    def __init__(self, pool: Pool, account: Account, settings: Settings) -> None:
        self.pool, self.account, self.settings = pool, account, settings
        self.quotes = Quotes(pool, {}, stale_s=1.0)
        self._admission = Admission(pool, PriceBook(), ComputeCosts({}), self.quotes, waiting_max=4096)
        self._keys = Authenticator(pool, KeyUses(pool), ttl_s=0)

    async def order(self, prompt: str = "a lamp", *, token: str | None = None, **changes: Any) -> UUID:
        """Nine frames at 16 a second (562 ms) of the model that `prompt` is meant for."""
        request = VideoRequest(
            model="faulty" if prompt.startswith("fault:") else "testcard", prompt=prompt, width=128, height=72, fps=16, frames=9,
            resolution="480p", ratio="16:9", steps=1, guidance=1.0, queue_deadline_s=3600,
        )  # fmt: skip
        caller = await self._keys.caller(token or self.account.live)
        one = submission(
            caller, new_id(), msgspec.structs.replace(request, **changes), dialect="native", status=201, render=lambda _: b"{}",
            idempotency_key=None, retry=0,
        )  # fmt: skip
        return (await self._admission.admit(one)).job_id

    async def job(self, job_id: UUID) -> Record:
        async with self.pool.acquire() as conn:
            row = await conn.fetchrow("SELECT * FROM gateway.job WHERE id = $1", job_id)
        assert row is not None
        return row

    async def until(self, job_id: UUID, *states: str) -> Record:
        """The job once it is in one of `states`. Raises TimeoutError."""
        row = await self.job(job_id)
        async with asyncio.timeout(SOON_S):
            while row["state"] not in states:
                await asyncio.sleep(0.02)
                row = await self.job(job_id)
        return row

    async def ended(self, job_id: UUID) -> Record:
        return await self.until(job_id, "succeeded", "failed", "cancelled", "expired")

    async def attempts(self, job_id: UUID) -> list[tuple[str, str, str | None]]:
        """(replica, outcome, code) of each."""
        async with self.pool.acquire() as conn:
            rows = await conn.fetch("SELECT * FROM gateway.attempt WHERE job_id = $1 ORDER BY attempt", job_id)
        return [(row["replica"], row["outcome"], row["code"]) for row in rows]

    async def log(self, job_id: UUID) -> list[str]:
        async with self.pool.acquire() as conn:
            rows = await conn.fetch("SELECT kind FROM gateway.job_event WHERE job_id = $1 ORDER BY seq", job_id)
        return [row["kind"] for row in rows]

    async def wallet(self, book: str = "live") -> tuple[int, int]:
        """(posted, held), after the whole ledger and all jobs were found sound."""
        async with self.pool.acquire() as conn:
            async with conn.transaction(isolation="repeatable_read", readonly=True):
                assert await verify(conn) == []
                assert await verify_jobs(conn) == []
            row = await conn.fetchrow(
                "SELECT b.posted, b.held FROM billing.balance b JOIN billing.wallet w ON w.id = b.wallet_id"
                " WHERE w.customer_id = $1 AND w.book = $2",
                self.account.org_id,
                book,
            )
        assert row is not None
        return row["posted"], row["held"]

    def file(self, artifact: Artifact) -> bytes:
        return (Path(self.settings.media_url.removeprefix("file://")) / artifact.key).read_bytes()

    def artifacts(self, row: Record) -> dict[str, Artifact]:
        found = msgspec.json.decode(row["artifacts"], type=tuple[Artifact, ...])
        return {artifact.name: artifact for artifact in found}

    @asynccontextmanager
    async def dispatching(self, **changes: Any) -> AsyncGenerator[asyncio.Event]:
        """A dispatcher with these settings; set the event to stop it. A failure of it is raised at the end."""
        async with _running(dispatch, msgspec.structs.replace(self.settings, **changes)) as stop:
            yield stop

    @asynccontextmanager
    async def serving(self, **changes: Any) -> AsyncGenerator[str]:
        """The URL of an API in a process of its own, with these settings."""
        settings = msgspec.structs.replace(self.settings, port=free_port(), **changes)
        folder = Path(self.settings.spool_dir)
        api = Process("api", [sys.executable, "-c", PROGRAMS["api"]], settings.environment(), folder / "api.log")
        api.start()
        try:
            url = f"http://{settings.host}:{settings.port}"
            await answering(url)
            yield url
        finally:
            await asyncio.to_thread(api.stop)

    @asynccontextmanager
    async def clerking(self, **changes: Any) -> AsyncGenerator[asyncio.Event]:
        async with _running(clerk, msgspec.structs.replace(self.settings, **changes)) as stop:
            yield stop


@asynccontextmanager
async def _running(
    run: Callable[[Settings, asyncio.Event], Awaitable[None]], settings: Settings
) -> AsyncGenerator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.ensure_future(run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(SOON_S):
            await task


@asynccontextmanager
async def open_workshop(pool: Pool, dsn: str, folder: Path, ports: list[int], **changes: Any) -> AsyncGenerator[Workshop]:
    """A replica `r0`, `r1`, … per port, two jobs at a time each."""
    async with pool.acquire() as conn:
        account = await open_account(conn)
    for file in ("accelerators.toml", "prices.toml", "sellers.toml", "plans.toml"):
        shutil.copyfile(PACKAGED / file, folder / file)
    (folder / "models.toml").write_text(CATALOGUE, encoding="utf-8")
    (folder / "speeds.toml").write_text(SPEEDS, encoding="utf-8")
    settings = Settings(
        dsn=Secret(dsn),
        link_secret=Secret("x" * 32),
        media_url=f"file://{folder}/media",
        spool_dir=str(folder),
        disk_free_min_bytes=0,
        catalogue_dir=str(folder),
        lease_ttl_s=3.0,
        heartbeat_s=0.3,
        poll_s=0.2,
        stall_s=5.0,
        replicas=tuple(
            ReplicaSettings(name=f"r{n}", url=f"127.0.0.1:{port}", models=("testcard", "faulty"), slots=2)
            for n, port in enumerate(ports)
        ),
    )
    yield Workshop(pool, account, msgspec.structs.replace(settings, **changes))


def ready(server: Triton) -> None:
    """Blocks until every model answers."""
    asyncio.run(triton.wait_ready("127.0.0.1", server.http_port))


def started(work: Path, **environment: str) -> Iterator[Triton]:
    """For a fixture: the server, ready."""
    with running_triton(work, **environment) as server:
        ready(server)
        yield server
