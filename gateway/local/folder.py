"""The data folder of `up`: everything that outlives a run lies in it, and one run at a time owns it."""

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Self

import msgspec

from gateway.local.errors import LocalUnavailable

FREE_MIN_BYTES = 768 << 20
"""PostgreSQL's own files take 60 MB, and the gateway takes no job with less than 512 MiB free."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo organization's clients need, and the secrets of this installation; kept where only its owner reads."""

    link_secret: str
    operator_token: str
    webhook_secret: str
    sign_in_secret: str
    api_key: str = ""
    test_api_key: str = ""
    management_key: str = ""
    base_url: str = ""
    dsn: str = ""


class DataFolder:
    """Locked from `open` to `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self._lock = path, lock
        self.logs, self.media, self.spool = path / "logs", path / "media", path / "spool"
        self.metrics, self.triton, self.postgres = path / "metrics", path / "triton", path / "postgres"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes what is missing. Raises LocalUnavailable: in use, not writable, too little space."""
        path = path.resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise LocalUnavailable(
                f"Tallylight already runs on {path} (process {owner}); use that one, stop it, or choose another with --data"
            ) from error
        folder = cls(path, lock)
        try:
            folder._take()
        except BaseException:
            folder.close()
            raise
        return folder

    def _take(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < FREE_MIN_BYTES:
            raise LocalUnavailable(
                f"only {free >> 20} MiB are free where {self.path} lies, and Tallylight needs {FREE_MIN_BYTES >> 20}; "
                "make room, or choose another folder with --data"
            )
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            for folder in (self.spool, self.metrics):  # of a run that is over: half-written files and its counters
                shutil.rmtree(folder, ignore_errors=True)
            for folder in (self.logs, self.media, self.spool, self.metrics, self.triton, self.postgres):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        """The lock file stays: removing it would let two runs lock two files of one name."""
        os.close(self._lock)

    def credentials(self) -> Credentials:
        """Those of the last run, or new ones without keys."""
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            return read_credentials(self.path)
        link, operator, webhook, sign_in = (secrets.token_urlsafe(32) for _ in range(4))
        return Credentials(link_secret=link, operator_token=operator, webhook_secret=webhook, sign_in_secret=sign_in)

    def keep(self, credentials: Credentials) -> None:
        write_private(_credentials_file(self.path), msgspec.json.encode(credentials))


def read_credentials(path: Path) -> Credentials:
    """Raises FileNotFoundError where no `up` has run, PermissionError for another user's, msgspec.DecodeError."""
    return msgspec.json.decode(_credentials_file(path).read_bytes(), type=Credentials)


def write_private(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, and only its owner reads it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _credentials_file(path: Path) -> Path:
    return path / "credentials.json"


def _unusable(path: Path, error: OSError) -> LocalUnavailable:
    return LocalUnavailable(f"the data folder {path} cannot be used ({error.strerror}); choose another with --data")
