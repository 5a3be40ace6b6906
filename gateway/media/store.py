"""Objects in a local folder or an S3 bucket. A put returns only after the stored bytes were read back and compared."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import LocalStore, S3Store

from gateway.media.durable import prepare_root, write_durably
from gateway.media.errors import ObjectMissing, StoreCorrupt, StoreUnavailable
from gateway.media.keys import check_key
from gateway.settings import Settings

if TYPE_CHECKING:
    # These two exist for type checkers alone.
    from obstore import GetOptions
    from obstore.store import S3Config

CHUNK_BYTES = 1024 * 1024
"""What `read_range` yields at most, and what a local write holds at a time."""

_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 3
_CONNECT_S = 3
_RETRIES = 3


class StoredObject(msgspec.Struct, frozen=True):
    """An object that was read back after it was written. `sha256` is hex."""

    key: str
    bytes: int
    sha256: str


class ObjectHead(msgspec.Struct, frozen=True):
    key: str
    bytes: int


class MediaStore:
    """Every method raises StoreUnavailable when the store fails or is too slow, StoreCorrupt when it returns other bytes
    than it was given, and ObjectMissing where a key must exist.

    A request may take `request_s`; writing a whole file and reading it back may take `transfer_s`.
    """

    def __init__(self, backend: LocalStore | S3Store, root: Path | None, request_s: float, transfer_s: float) -> None:
        self._backend = backend
        self._root = root
        self._request_s = request_s
        self._transfer_s = transfer_s

    @classmethod
    def open(
        cls,
        url: str,
        *,
        s3_endpoint: str = "",
        s3_access_key: str = "",
        s3_secret_key: str = "",
        s3_region: str = "",
        s3_allow_http: bool = False,
        request_s: float = 10.0,
        transfer_s: float = 120.0,
    ) -> Self:
        """Open `file:///absolute/folder` (created if missing) or `s3://bucket/prefix`; nothing is sent yet.

        An empty S3 setting is left to the usual AWS sources (environment, instance role). Raises ValueError for
        another URL and StoreUnavailable for a folder that cannot be made.
        """
        parts = urlsplit(url)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            root = Path(unquote(parts.path))
            try:
                prepare_root(root)
            except OSError as error:
                raise StoreUnavailable(f"the folder {root} cannot be used: {error.strerror}") from error
            return cls(LocalStore(root, automatic_cleanup=True), root, request_s, transfer_s)
        if parts.scheme == "s3" and parts.netloc:
            config: S3Config = {}
            if s3_endpoint:
                config["endpoint"] = s3_endpoint
            if s3_access_key:
                config["access_key_id"] = s3_access_key
                config["secret_access_key"] = s3_secret_key
            if s3_region:
                config["region"] = s3_region
            backend = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                config=config,
                client_options={
                    "allow_http": s3_allow_http,
                    "connect_timeout": timedelta(seconds=_CONNECT_S),
                    "timeout": timedelta(seconds=transfer_s),
                },
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=request_s)},
            )
            return cls(backend, None, request_s, transfer_s)
        raise ValueError(f"the media store must be file:///absolute/folder or s3://bucket/prefix, not {url!r}")

    @property
    def folder(self) -> Path | None:
        """Where the objects lie, if they lie on this machine."""
        return self._root

    async def put_file(self, key: str, path: Path, *, sha256: str, content_type: str) -> StoredObject:
        """Store the file `path`, whose hash is `sha256` (hex), in bounded memory; read the object back and compare.

        Money may be settled once this returns: the object is durable, whole, and the file that was hashed.
        Raises StoreCorrupt if size or hash differ, FileNotFoundError if there is no such file.
        """
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        async with _bounded(key, self._transfer_s):
            await self._write(key, path, content_type)
            return await self._read_back(key, size_bytes, sha256)

    async def put_bytes(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        """Store a small object that is in memory already, with the same guarantees as `put_file`."""
        async with _bounded(key, self._transfer_s):
            await self._write(key, data, content_type)
            return await self._read_back(key, len(data), hashlib.sha256(data).hexdigest())

    async def head(self, key: str) -> ObjectHead:
        """The object's size. Raises ObjectMissing."""
        async with _bounded(key, self._request_s):
            meta = await obstore.head_async(self._backend, key)
        return ObjectHead(key, meta["size"])

    async def read_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield bytes [start, end) in chunks of at most CHUNK_BYTES.

        Each chunk is a request of its own, so a slow reader holds no connection to the store. Raises ObjectMissing,
        and StoreCorrupt if the object is shorter than `end` or is replaced while it is read.
        """
        if not 0 <= start <= end:
            raise ValueError(f"bytes {start} to {end} are not a range")
        etag: str | None = None
        for at in range(start, end, CHUNK_BYTES):
            until = min(at + CHUNK_BYTES, end)
            try:
                async with _bounded(key, self._request_s):
                    unchanged: GetOptions = {"if_match": etag} if etag else {}
                    found = await obstore.get_async(self._backend, key, options={"range": (at, until), **unchanged})
                    chunk = bytes(await found.bytes_async())
            except StoreUnavailable as error:
                # Stores refuse a range that starts past the end with an error that has no type of its own.
                if (await self.head(key)).bytes <= at:
                    raise StoreCorrupt(f"{key} ends before byte {at}; bytes up to {end} were expected") from error
                raise
            etag = found.meta["e_tag"]
            if len(chunk) != until - at:
                raise StoreCorrupt(f"{key} ends at byte {at + len(chunk)}; bytes up to {end} were expected")
            yield chunk

    async def read_bytes(self, key: str, limit: int) -> bytes:
        """The whole object. Raises ObjectMissing, and StoreCorrupt if it has more than `limit` bytes."""
        size_bytes = (await self.head(key)).bytes
        if size_bytes > limit:
            raise StoreCorrupt(f"{key} has {size_bytes} bytes; {limit} at most were expected")
        return b"".join([chunk async for chunk in self.read_range(key, 0, size_bytes)])

    async def delete(self, key: str) -> None:
        """Delete the object if it is there."""
        async with _bounded(key, self._request_s):
            await self._delete(key)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete every object in the folder `prefix`, and return how many there were. May be repeated after a failure."""
        async with _bounded(prefix, self._transfer_s):
            keys = await self._keys(prefix)  # to the end first: a local listing breaks when folders vanish under it
            for key in keys:
                await self._delete(key)
        return len(keys)

    async def keys(self, prefix: str) -> list[str]:
        """The keys of every object in the folder `prefix`, which must be known to hold few."""
        async with _bounded(prefix, self._transfer_s):
            return await self._keys(prefix)

    async def _keys(self, prefix: str) -> list[str]:
        listing = obstore.list(self._backend, prefix)  # pyright: ignore[reportUnknownMemberType] one overload needs arro3
        return [meta["path"] async for batch in listing for meta in batch]

    async def _delete(self, key: str) -> None:
        try:
            await obstore.delete_async(self._backend, key)
        except FileNotFoundError:
            return

    async def _write(self, key: str, source: Path | bytes, content_type: str) -> None:
        try:
            if self._root is not None:
                await asyncio.to_thread(write_durably, self._root, key, _chunks(source))
            else:
                await obstore.put_async(
                    self._backend,
                    key,
                    source,
                    attributes={"Content-Type": content_type},
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{key} cannot be written: the bucket or folder of the store is gone") from error

    async def _read_back(self, key: str, size_bytes: int, sha256: str) -> StoredObject:
        found = await obstore.get_async(self._backend, key)
        digest, read_bytes = hashlib.sha256(), 0
        async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
            await asyncio.to_thread(digest.update, chunk)
            read_bytes += len(chunk)
        if read_bytes != size_bytes or digest.hexdigest() != sha256:
            raise StoreCorrupt(f"{key} reads back as {read_bytes} bytes with another hash; {size_bytes} bytes were written")
        return StoredObject(key, size_bytes, sha256)


@asynccontextmanager
async def _bounded(key: str, limit_s: float) -> AsyncGenerator[None]:
    """One check of the key, one bound and one translation of errors for everything that talks to the store."""
    check_key(key)
    try:
        async with asyncio.timeout(limit_s):
            yield
    except FileNotFoundError as error:
        raise ObjectMissing(key) from error
    except PreconditionError as error:
        raise StoreCorrupt(f"{key} was replaced while it was read") from error
    except TimeoutError as error:
        raise StoreUnavailable(f"the store did not answer within {limit_s:g} s for {key}") from error
    except (BaseError, OSError) as error:
        # The first line says what failed; the rest of obstore's text is its debug dump.
        raise StoreUnavailable(f"the store failed for {key}: {str(error).splitlines()[0]}") from error


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def open_store(settings: Settings) -> MediaStore:
    """The store that the settings name. Raises ValueError, StoreUnavailable."""
    return MediaStore.open(
        settings.media_url,
        s3_endpoint=settings.s3_endpoint,
        s3_access_key=settings.s3_access_key.reveal(),
        s3_secret_key=settings.s3_secret_key.reveal(),
        s3_region=settings.s3_region,
        s3_allow_http=settings.s3_allow_http,
    )
