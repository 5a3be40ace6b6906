"""The store against a local folder and against an S3 server in a process of its own, over TCP."""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.media.errors import ObjectMissing, StoreCorrupt, StoreUnavailable
from gateway.media.keys import artifact_key, input_key, job_prefix
from gateway.media.store import CHUNK_BYTES, MediaStore, StoredObject
from tests.media.s3 import running_s3, s3_store

MP4 = "video/mp4"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with running_s3() as port:
        yield port


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    if request.param == "local":
        return MediaStore.open(f"file://{tmp_path}/store")
    return s3_store(request.getfixturevalue("s3_port"), prefix=tmp_path.name)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """17 MiB and a bit: three parts of an S3 upload."""
    path = tmp_path / "big.mp4"
    path.write_bytes(os.urandom(17 * CHUNK_BYTES + 12_345))
    return path


async def test_a_file_comes_back_as_it_went(store: MediaStore, big: Path) -> None:
    data, key = big.read_bytes(), artifact_key("o1", "j1", 2, "video.mp4")
    stored = await store.put_file(key, big, sha256=sha256(data), content_type=MP4)
    assert stored == StoredObject("orgs/o1/jobs/j1/2/video.mp4", len(data), sha256(data))
    assert (await store.head(key)).bytes == len(data)
    chunks = [chunk async for chunk in store.read_range(key, 0, len(data))]
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= CHUNK_BYTES
    start, end = CHUNK_BYTES - 3, 3 * CHUNK_BYTES + 5
    assert b"".join([chunk async for chunk in store.read_range(key, start, end)]) == data[start:end]
    assert [chunk async for chunk in store.read_range(key, 7, 7)] == []


async def test_small_objects(store: MediaStore) -> None:
    key = input_key("o1", "j1", 0)
    assert (await store.put_bytes(key, b"first", content_type="image/png")).bytes == 5
    assert (await store.put_bytes(key, b"second", content_type="image/png")).sha256 == sha256(b"second")
    assert await store.read_bytes(key, 6) == b"second"
    with pytest.raises(StoreCorrupt):
        await store.read_bytes(key, 5)
    await store.put_bytes(key, b"", content_type="image/png")
    assert await store.read_bytes(key, 0) == b""


async def test_what_is_not_there(store: MediaStore) -> None:
    with pytest.raises(ObjectMissing):
        await store.head("orgs/none")
    with pytest.raises(ObjectMissing):
        await store.read_bytes("orgs/none", 10)
    with pytest.raises(ObjectMissing):
        _ = [chunk async for chunk in store.read_range("orgs/none", 0, 10)]
    await store.delete("orgs/none")
    assert await store.delete_prefix("orgs/none") == 0


async def test_an_object_shorter_than_was_asked_for_is_corrupt(store: MediaStore) -> None:
    await store.put_bytes("orgs/short", b"0123456789", content_type=MP4)
    for start, end in ((0, 11), (10, 12), (50, 60)):
        with pytest.raises(StoreCorrupt):
            _ = [chunk async for chunk in store.read_range("orgs/short", start, end)]


async def test_an_object_replaced_while_it_is_read_is_corrupt(store: MediaStore) -> None:
    size = 2 * CHUNK_BYTES
    await store.put_bytes("orgs/changing", bytes(size), content_type=MP4)
    reading = store.read_range("orgs/changing", 0, size)
    await anext(reading)
    await store.put_bytes("orgs/changing", b"\x01" * size, content_type=MP4)
    with pytest.raises(StoreCorrupt):
        await anext(reading)


async def test_deleting_a_job_leaves_its_neighbours(store: MediaStore) -> None:
    keys = [artifact_key("o1", job, attempt, "video.mp4") for job in ("j1", "j10", "j2") for attempt in (1, 2)]
    for key in [*keys, input_key("o1", "j1", 0)]:
        await store.put_bytes(key, b"x", content_type=MP4)
    assert await store.delete_prefix(job_prefix("o1", "j1")) == 3
    assert await store.delete_prefix(job_prefix("o1", "j1")) == 0
    for key in keys:
        if "/j1/" in key:
            with pytest.raises(ObjectMissing):
                await store.head(key)
        else:
            assert (await store.head(key)).bytes == 1
    await store.delete(keys[-1])
    await store.delete(keys[-1])


async def test_a_file_that_is_not_the_one_that_was_hashed_is_corrupt(store: MediaStore, big: Path) -> None:
    with pytest.raises(StoreCorrupt):
        await store.put_file("orgs/x", big, sha256=sha256(b"another"), content_type=MP4)
    with pytest.raises(FileNotFoundError):
        await store.put_file("orgs/x", big.with_name("absent"), sha256=sha256(b""), content_type=MP4)


@pytest.mark.parametrize(
    "key", ["../outside", "a/../../outside", "/absolute", "", "a//b", "a/.", ".staging/x", "a b", "a\0b", "a#1"]
)
async def test_no_key_leaves_the_store(store: MediaStore, key: str) -> None:
    for call in (store.put_bytes(key, b"x", content_type=MP4), store.head(key), store.delete(key), store.delete_prefix(key)):
        with pytest.raises(ValueError, match="object key"):
            await call


def test_keys_carry_the_attempt_and_refuse_separators() -> None:
    assert artifact_key("o1", "j1", 3, "last_frame.png") == "orgs/o1/jobs/j1/3/last_frame.png"
    assert input_key("o1", "j1", 0) == "orgs/o1/jobs/j1/inputs/0"
    for call in (
        lambda: artifact_key("o/1", "j", 1, "v"),
        lambda: artifact_key("o", "j", 0, "v"),
        lambda: input_key("o", "j", -1),
    ):
        with pytest.raises(ValueError, match=r"object key|count from"):
            call()


@pytest.mark.parametrize("url", ["", "/tmp/x", "file://host/x", "file:relative", "s3://", "http://x/y", "gs://b"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="media store"):
        MediaStore.open(url)


async def test_a_local_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = MediaStore.open(f"file://{root}")
    (root / "orgs").write_text("a file where a folder must be")
    with pytest.raises(StoreUnavailable):
        await store.put_bytes("orgs/o1/x", b"x", content_type=MP4)
    assert list((root / ".staging").iterdir()) == []
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(StoreUnavailable):
        MediaStore.open(f"file://{blocked}")


async def test_opening_a_local_store_drops_what_dead_writers_left_long_ago(tmp_path: Path) -> None:
    MediaStore.open(f"file://{tmp_path}")
    old, new = tmp_path / ".staging" / "old", tmp_path / ".staging" / "new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    MediaStore.open(f"file://{tmp_path}")
    assert (old.exists(), new.exists()) == (False, True)


async def test_concurrent_local_writes_and_deletes_do_not_collide(tmp_path: Path) -> None:
    store = MediaStore.open(f"file://{tmp_path}/store")

    async def live(index: int) -> None:
        for _ in range(5):
            key = artifact_key("o1", f"j{index}", 1, "video.mp4")
            await store.put_bytes(key, b"x" * 1000, content_type=MP4)
            await store.delete(key)

    await asyncio.gather(*(live(index) for index in range(8)))


Meddle = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def proxy(port: int, *, upwards: Meddle | None = None, downwards: Meddle | None = None) -> AsyncGenerator[int]:
    """A TCP proxy to `port` whose two directions may change, stall or (by ConnectionError) cut what passes."""
    tasks: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meddle: Meddle | None) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(await meddle(data) if meddle else data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, there_writer, upwards), (there_reader, writer, downwards)):
            task = asyncio.create_task(pipe(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_server_that_fails_half_way_is_unavailable(s3_port: int, big: Path) -> None:
    passed = 0

    async def cut(data: bytes) -> bytes:
        nonlocal passed
        passed += len(data)
        if passed > 9 * CHUNK_BYTES:
            raise ConnectionError
        return data

    async with proxy(s3_port, upwards=cut) as port:
        store = s3_store(port, request_s=2)
        with pytest.raises(StoreUnavailable):
            await store.put_file("orgs/cut", big, sha256=sha256(big.read_bytes()), content_type=MP4)
    assert passed > 9 * CHUNK_BYTES
    with pytest.raises(ObjectMissing):
        await s3_store(s3_port).head("orgs/cut")


async def test_a_server_that_stops_answering_is_unavailable_within_the_bound(s3_port: int, big: Path) -> None:
    async def stall(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with proxy(s3_port, downwards=stall) as port:
        store = s3_store(port, request_s=0.3, transfer_s=0.6)
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable):
                await store.head("orgs/x")
            with pytest.raises(StoreUnavailable):
                await store.put_file("orgs/x", big, sha256=sha256(big.read_bytes()), content_type=MP4)


async def test_no_server_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    store = s3_store(port, request_s=1)
    with pytest.raises(StoreUnavailable):
        await store.head("orgs/x")
    with pytest.raises(StoreUnavailable):
        await store.delete("orgs/x")


async def test_a_bucket_that_is_gone_is_unavailable(s3_port: int) -> None:
    store = MediaStore.open(
        "s3://nobody/p",
        s3_endpoint=f"http://127.0.0.1:{s3_port}",
        s3_access_key="test",
        s3_secret_key="test",
        s3_region="us-east-1",
        s3_allow_http=True,
    )
    with pytest.raises(StoreUnavailable):
        await store.put_bytes("orgs/x", b"x", content_type=MP4)


async def test_a_byte_that_changes_in_the_store_is_found(s3_port: int, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"0123456789abcdef" * 8192)

    async def flip(data: bytes) -> bytes:
        return data.replace(b"9abc", b"9abd", 1)

    async with proxy(s3_port, downwards=flip) as port:
        with pytest.raises(StoreCorrupt):
            await s3_store(port).put_file("orgs/flip", path, sha256=sha256(path.read_bytes()), content_type=MP4)


async def test_an_object_cut_short_between_write_and_read_is_found(s3_port: int, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"x" * 100_000)
    direct = s3_store(s3_port)

    async def overwrite(data: bytes) -> bytes:
        if data.startswith(b"GET "):
            await direct.put_bytes("orgs/cut-short", b"x" * 99_999, content_type=MP4)
        return data

    async with proxy(s3_port, upwards=overwrite) as port:
        with pytest.raises(StoreCorrupt):
            await s3_store(port).put_file("orgs/cut-short", path, sha256=sha256(path.read_bytes()), content_type=MP4)
