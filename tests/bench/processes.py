"""The real processes of a benchmark, and what each of them costs: read from /proc, so that it holds on a busy machine."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec

from billing.kit.migrate import migrate
from gateway.local import postgres
from gateway.migrations import FOLDERS
from gateway.settings import Secret, Settings
from tests.bench.client import Load, Plan

ROOT = Path(__file__).parents[2]
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_S = 30.0


class BenchError(Exception):
    """A figure could not be measured; the sentence says why."""


class Measured(msgspec.Struct, frozen=True):
    """One run: the load, and the CPU seconds that the server and PostgreSQL took for it."""

    load: Load
    server_cpu_s: float
    postgres_cpu_s: float

    @property
    def per_s(self) -> float:
        return self.load.answers / self.load.seconds

    def server_us(self) -> float:
        return self.server_cpu_s * 1e6 / max(self.load.answers, 1)

    def postgres_us(self) -> float:
        return self.postgres_cpu_s * 1e6 / max(self.load.answers, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its descendants, also of those that have ended."""
    ticks = 0
    for one in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc_pid_stat(5)
    return ticks / _TICKS_PER_S


def pss_mb(pid: int) -> float:
    """Proportional set size in megabytes (10⁶ bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


@contextmanager
def database(*flags: str) -> Generator[tuple[str, int]]:
    """A private, durable PostgreSQL with a migrated database: its DSN and the server's process id. `flags` go to the server."""
    with tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder:
        cluster = postgres.prepare(Path(folder) / "db", free_port(), durable=True)
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen([*cluster.command(), *flags], cwd=cluster.data, stdout=log, stderr=log)
        try:
            asyncio.run(_create(cluster.dsn_of("postgres")))
            yield on_database(cluster.dsn_of("postgres"), "bench"), server.pid
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)


def on_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _create(dsn: str) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            with suppress(OSError, asyncpg.PostgresError):
                conn = await asyncpg.connect(dsn)
                break
            await asyncio.sleep(0.05)
    await conn.execute("CREATE DATABASE bench")
    await conn.close()
    conn = await asyncpg.connect(on_database(dsn, "bench"))
    await migrate(conn, FOLDERS)
    await conn.close()


def settings(dsn: str, folder: Path, **others: object) -> Settings:
    return msgspec.structs.replace(
        Settings(
            dsn=Secret(dsn),
            port=free_port(),
            media_url=f"file://{folder}/media",
            link_secret=Secret("benchmarks sign their links with this"),
            log_level="warning",
            reads_per_s=0,
        ),
        **others,
    )


@contextmanager
def process(args: list[str], with_settings: Settings) -> Generator[int]:
    """`python -m …` from the repository's root: its process id. Ends it on the way out."""
    child = subprocess.Popen([sys.executable, "-m", *args], cwd=ROOT, env=with_settings.environment())
    try:
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def http_server(which: str, with_settings: Settings) -> Generator[int]:
    """`gateway` or `noop`; returns once every worker answers."""
    with process(["tests.bench.server", which], with_settings) as pid:
        until = monotonic() + _START_S
        while not _listens(with_settings.port) or len(workers(pid)) < with_settings.workers:
            if monotonic() > until:
                raise BenchError(f"{which} did not start within {_START_S:.0f} s")
            sleep(0.05)
        yield pid


def workers(pid: int) -> list[int]:
    """The processes that answer requests: the server itself, or the workers it spawned."""
    spawned = [
        one for one in family(pid)[1:] if _parent(one) == pid and b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return spawned or [pid]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(plan: Plan, server_pid: int, postgres_pid: int) -> Measured:
    """Runs one load. Raises BenchError when an answer was no 2xx."""
    client = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.client"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin is not None and client.stdout is not None
    with client:
        client.stdin.write(msgspec.json.encode(plan))
        client.stdin.close()
        client.stdout.readline()
        before = cpu_s(server_pid), cpu_s(postgres_pid)
        line = client.stdout.readline()
        after = cpu_s(server_pid), cpu_s(postgres_pid)
    if not line:
        raise BenchError("the load generator failed")
    load = msgspec.json.decode(line, type=Load)
    if load.failure or not load.answers:
        raise BenchError(load.failure or "nothing was answered")
    return Measured(load, after[0] - before[0], after[1] - before[1])
