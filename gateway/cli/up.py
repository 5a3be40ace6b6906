"""`tallylight up`: everything on one machine, started in order, kept running, stopped together."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from billing.kit.pool import open_pool
from billing.kit.query import Conn
from billing.ledger.wallets import lines_of
from gateway.cli.client import ApiClient, ApiError
from gateway.cli.command import DEFAULT_DATA, reported, write_table
from gateway.cli.film import follow, save
from gateway.cli.ledger import table_of
from gateway.cli.snippets import snippets
from gateway.fleet.registry.read import list_replicas
from gateway.local import postgres
from gateway.local.folder import DataFolder, write_private
from gateway.local.ports import free_port, require_free
from gateway.local.rehearse import DEMO, write_catalogue
from gateway.local.roles import Triton, gateway_role, postgres_role, reachable
from gateway.local.seed import migrate_database, open_demo, publish_offers
from gateway.local.supervise import Supervisor, first_of
from gateway.settings import Secret, Settings
from gateway.telemetry import logs
from gateway.video import parse_public_id

FIRST = {"model": "testcard", "prompt": "Tallylight: a prompt goes in, a measured and charged video comes out", "seconds": 4}
PROOF = {"model": "testcard", "prompt": "a job succeeds", "frames": 8, "fps": 16, "size": "128x72"}
OURS = ("serve", "dispatch", "clerk")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the API listens on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, show_default=True,
    help="Keeps the database, the videos, logs and keys.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="API processes.")
@click.option("--dsn", help="A PostgreSQL of your own instead of the embedded one.")
@click.option(
    "--ready-file", type=click.Path(path_type=Path, dir_okay=False),
    help="Write addresses, keys and process ids here as JSON once a job would succeed.",
)  # fmt: skip
@click.option(
    "--fleet", type=click.Choice(["single", "demo"]), default="single", show_default=True,
    help="demo: three servers of unequal speed, price and models.",
)  # fmt: skip
@click.option("--no-demo-video", is_flag=True, help="Do not make the first video; a tiny one on the test key proves the path.")
def up(**given: Any) -> None:
    """Start PostgreSQL, Triton, the API, the dispatcher and the clerk, make a first video, and stay until Ctrl-C."""
    wanted = Wanted(**given)
    logs.configure("error")  # what this process does it says in sentences; its children write logs
    console = Console(highlight=False, soft_wrap=True)
    with reported():
        folder = DataFolder.open(wanted.data)
        try:
            if wanted.port:
                require_free(wanted.host, wanted.port)
            asyncio.run(_until_told(wanted, folder, console))
        finally:
            folder.close()
    console.print("Stopped.")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The command line."""

    host: str
    port: int
    data: Path
    workers: int
    dsn: str | None
    fleet: str
    ready_file: Path | None
    no_demo_video: bool


async def _until_told(wanted: Wanted, folder: DataFolder, console: Console) -> None:
    """Runs until SIGINT or SIGTERM, or until something cannot be kept running; stops all of it either way."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    one = _Up(wanted, folder, console)
    try:
        await first_of(told.wait(), one.run())
    finally:
        one.say("Stopping …")
        await one.stop()


class _Up:
    """One run of `up`."""

    def __init__(self, wanted: Wanted, folder: DataFolder, console: Console) -> None:
        self._wanted, self._folder, self._console = wanted, folder, console
        self._port = wanted.port or free_port(wanted.host)
        self._base_url = f"http://{reachable(wanted.host)}:{self._port}"
        self._proved = False
        self._credentials = folder.credentials()
        self._supervisor = Supervisor(folder.logs, changed=self._write_ready, told=self.say)

    def say(self, sentence: str) -> None:
        self._console.print(sentence)

    async def run(self) -> None:
        """Returns never: raises what ends `up`."""
        began = time.monotonic()
        tritons = self._tritons()
        dsn = await self._database()
        self._supervisor.start(*(triton.role() for triton in tritons))
        catalogue = str(write_catalogue(self._folder.path / "catalogue")) if self._wanted.fleet == "demo" else ""
        await self._seed(dsn, catalogue)
        settings = self._settings(dsn, tritons, catalogue)
        needs = () if self._wanted.dsn else ("postgres",)
        titles = dict(zip(OURS, ("the API", "the dispatcher", "the clerk"), strict=True))
        self._supervisor.start(
            *(gateway_role(name, title, settings, self._folder, needs=needs) for name, title in titles.items())
        )
        self.say("Starting Triton, the API, the dispatcher and the clerk …")
        await self._supervisor.ready(*(triton.name for triton in tritons), *OURS)
        await first_of(self._fleet_up(dsn), self._supervisor.failure())
        await self._first_video(dsn)
        self._proved = True
        self._write_ready()
        self.say(f"\nReady after {time.monotonic() - began:.1f} s. Logs are in {self._folder.logs}; Ctrl-C stops everything.\n")
        click.echo(snippets(self._base_url, self._credentials.api_key))
        await self._supervisor.failure()

    async def stop(self) -> None:
        self._proved = False
        await self._supervisor.stop()

    def _tritons(self) -> list[Triton]:
        if self._wanted.fleet == "single":
            return [Triton(self._folder.triton)]
        return [Triton(self._folder.triton / chip.name, chip) for chip in DEMO]

    async def _fleet_up(self, dsn: str) -> None:
        """Returns once the dispatcher would give every replica work."""
        async with await open_pool(dsn, name="tallylight-up", size_min=1, size_max=1) as pool, pool.acquire() as conn:
            while True:
                replicas = [row for row in await list_replicas(conn) if row.source == "config" and row.state == "active"]
                if replicas and all(row.condition == "up" and row.seen_at and row.seen_at > row.updated_at for row in replicas):
                    return
                await asyncio.sleep(0.05)

    async def _database(self) -> str:
        if self._wanted.dsn:
            return self._wanted.dsn
        self.say(f"Starting PostgreSQL in {self._folder.postgres} …")
        cluster = await asyncio.to_thread(postgres.prepare, self._folder.postgres, free_port())
        self._supervisor.start(postgres_role(cluster))
        await self._supervisor.ready("postgres")
        await postgres.make_database(cluster)
        return cluster.dsn

    async def _seed(self, dsn: str, catalogue: str) -> None:
        pool = await open_pool(dsn, name="tallylight-up", size_min=1, size_max=1, statement_timeout_ms=600_000)
        async with pool, pool.acquire() as conn:
            await migrate_database(conn)
            async with conn.transaction():
                await publish_offers(conn, catalogue)
                self._credentials = await open_demo(conn, self._credentials)
        self._credentials = msgspec.structs.replace(self._credentials, base_url=self._base_url, dsn=dsn)
        self._folder.keep(self._credentials)

    def _settings(self, dsn: str, tritons: Sequence[Triton], catalogue: str) -> Settings:
        return Settings(
            dsn=Secret(dsn),
            host=self._wanted.host,
            port=self._port,
            workers=self._wanted.workers,
            media_url=self._folder.media.as_uri(),
            link_secret=Secret(self._credentials.link_secret),
            spool_dir=str(self._folder.spool),
            metrics_dir=str(self._folder.metrics),
            catalogue_dir=catalogue,
            replicas=tuple(triton.replica() for triton in tritons),
            operator_token=Secret(self._credentials.operator_token),
            webhook_secret=Secret(self._credentials.webhook_secret),
            sign_in_secret=Secret(self._credentials.sign_in_secret),
        )

    async def _first_video(self, dsn: str) -> None:
        """Proves by doing it that a job succeeds. Raises ApiError when it does not."""
        if self._wanted.no_demo_video:
            async with ApiClient(self._base_url, self._credentials.test_api_key) as client:
                proof = await follow(client, await client.create(PROOF), Console(quiet=True))
            if proof.state != "succeeded":
                raise ApiError(f"the first job did not succeed: {proof.error.message if proof.error else proof.state}")
            return
        self.say("Making a first video …")
        async with ApiClient(self._base_url, self._credentials.api_key) as client:
            job = await follow(client, await client.create(FIRST), self._console)
            await save(client, job, self._folder.path / "first.mp4", self._console)
        pool = await open_pool(dsn, name="tallylight-up", size_min=1, size_max=1)
        async with pool, pool.acquire() as conn:
            await self._show_charge(conn, job.id)

    async def _show_charge(self, conn: Conn, job_id: str) -> None:
        subject = parse_public_id(job_id)
        self.say("\nIts charge in the ledger:")
        write_table(table_of(await lines_of(conn, subject) if subject else []))

    def _write_ready(self) -> None:
        """Written once a job has succeeded, and again whenever a process has been restarted."""
        if self._wanted.ready_file is None or not self._proved:
            return
        state = {
            "base_url": self._base_url,
            "api_key": self._credentials.api_key,
            "test_api_key": self._credentials.test_api_key,
            "management_key": self._credentials.management_key,
            "operator_token": self._credentials.operator_token,
            "dsn": self._credentials.dsn,
            "metrics_url": f"{self._base_url}/metrics",
            "pids": {"up": os.getpid(), **{_ROLES.get(name, name): pid for name, pid in self._supervisor.pids().items()}},
        }
        write_private(self._wanted.ready_file, msgspec.json.encode(state))


_ROLES = {"serve": "api"}
"""In the ready file roles are called by what they are, not by the command that runs them."""
