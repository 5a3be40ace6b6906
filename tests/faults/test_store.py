"""An object store that fails while a video is being stored: the GPU has done its work once, and nothing is charged before it is kept.

A real S3 server, with a proxy on the way to it that fails until it is told not to.
"""

import asyncio
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.fleet.contract import upload_key
from gateway.media.errors import ObjectMissing
from gateway.settings import Secret
from gateway.video import InputMedia, public_id
from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.proxy import Proxy, proxied
from tests.faults.workshop import SOON_S, Triton, Workshop
from tests.media.s3 import running_s3, s3_store
from tests.media.videos import write_video

CHARGE_MICRO = 562 * RATE_MICRO // 1000
VIDEO_BYTES_MAX = 1 << 20
UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    with running_s3() as port:
        yield port


class Failing:
    """A fault that lasts until `heal`; `seen` once it has struck often enough to be no accident."""

    def __init__(self, proxy: Proxy, s3_port: int) -> None:
        self._proxy, self._s3_port = proxy, s3_port
        self._struck, self.seen = 0, asyncio.Event()

    def strike(self) -> None:
        self._struck += 1
        if self._struck == 6:
            self.seen.set()

    def begin(self, kind: str) -> None:
        match kind:
            case "answers_503":
                self._proxy.answer_instead = lambda _: self._answer()
            case "loses_the_answer":
                self._proxy.cut_when = lambda _number, _data: self._cut()
            case "loses_the_etag":
                self._proxy.change = lambda data: self._change(data, b"ETag:", b"Gone:")
            case "cuts_objects_short":
                self._proxy.heard = self._cut_short
            case "changes_a_byte":
                self._proxy.change = lambda data: self._change(data, b"moov", b"mooV")
            case _:
                self._proxy.heard = self._hang

    def heal(self) -> None:
        healthy = Proxy("", 0)
        self._proxy.answer_instead, self._proxy.cut_when = healthy.answer_instead, healthy.cut_when
        self._proxy.change, self._proxy.heard = healthy.change, healthy.heard
        self._proxy.thaw()

    def _answer(self) -> bytes:
        self.strike()
        return UNAVAILABLE

    def _cut(self) -> bool:
        self.strike()
        return True

    def _change(self, data: bytes, there: bytes, instead: bytes) -> bytes:
        if there in data:
            self.strike()
        return data.replace(there, instead)

    async def _cut_short(self, data: bytes) -> None:
        """What is about to be read back has lost its end."""
        if data.startswith(b"GET "):
            key = data.split()[1].decode().removeprefix("/media/")
            store = s3_store(self._s3_port, prefix="")
            whole = await store.read_bytes(key, VIDEO_BYTES_MAX)
            await store.put_bytes(key, whole[:-1], content_type="video/mp4")
            self.strike()

    async def _hang(self, _: bytes) -> None:
        self._proxy.freeze()
        self.seen.set()


def behind(proxy: Proxy, prefix: str) -> dict[str, Any]:
    """Settings for the store on the other side of the proxy."""
    return {
        "media_url": f"s3://media/{prefix}",
        "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
        "s3_region": "us-east-1",
        "s3_access_key": Secret("test"),
        "s3_secret_key": Secret("test"),
        "s3_allow_http": True,
    }


@pytest.mark.parametrize(
    "kind", ["answers_503", "loses_the_answer", "loses_the_etag", "cuts_objects_short", "changes_a_byte", "does_not_answer"]
)
async def test_what_was_generated_is_kept_and_charged_when_the_store_is_back(
    workshop: Workshop, triton: Triton, s3_port: int, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("gateway.produce._STORE_PAUSE_MAX_S", 0.05)
    made = triton.ended("testcard")
    async with proxied("127.0.0.1", s3_port) as proxy:
        failing = Failing(proxy, s3_port)
        failing.begin(kind)
        async with workshop.dispatching(**behind(proxy, kind)):
            job_id = await workshop.order()
            async with asyncio.timeout(SOON_S):
                await failing.seen.wait()
            assert (await workshop.job(job_id))["state"] == "running"
            assert await workshop.wallet() == (FUNDS_MICRO, CHARGE_MICRO)
            failing.heal()
            row = await workshop.ended(job_id)
    assert row["state"] == "succeeded"
    assert await workshop.attempts(job_id) == [("r0", "succeeded", None)]
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)
    assert triton.ended("testcard") == made + 1
    for artifact in workshop.artifacts(row).values():
        kept = await s3_store(s3_port, prefix=kind).read_bytes(artifact.key, artifact.bytes)
        assert hashlib.sha256(kept).hexdigest() == artifact.sha256


async def test_an_image_is_read_and_a_file_of_the_model_taken_over_when_the_store_is_back(
    workshop: Workshop, triton: Triton, s3_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("gateway.produce._STORE_PAUSE_MAX_S", 0.05)
    store, picture = s3_store(s3_port, prefix="taken"), io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    put = await store.put_bytes("inputs/0", picture.getvalue(), content_type="image/png")
    image = InputMedia("first_frame", put.key, put.sha256, "image/png", 64, 64, put.bytes)
    async with proxied("127.0.0.1", s3_port) as proxy:
        job_ids = [await workshop.order(inputs=(image,)), await workshop.order("fault:object")]
        video = write_video(tmp_path / "model.mp4", frames=9, fps=16, width=128, height=72)
        upload = upload_key(public_id(job_ids[1]), 1)
        await store.put_bytes(upload, video.read_bytes(), content_type="video/mp4")
        failing = Failing(proxy, s3_port)
        failing.begin("answers_503")
        async with workshop.dispatching(**behind(proxy, "taken")):
            async with asyncio.timeout(SOON_S):
                await failing.seen.wait()
            failing.heal()
            rows = [await workshop.ended(job_id) for job_id in job_ids]
    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert [await workshop.attempts(job_id) for job_id in job_ids] == [[("r0", "succeeded", None)]] * 2
    assert await workshop.wallet() == (FUNDS_MICRO - 2 * CHARGE_MICRO, 0)
    with pytest.raises(ObjectMissing):
        await store.head(upload)


async def test_a_store_that_stays_away_costs_the_attempt_and_no_money(workshop: Workshop, s3_port: int) -> None:
    async with proxied("127.0.0.1", s3_port) as proxy:
        proxy.refusing = True
        async with workshop.dispatching(**behind(proxy, "away"), attempt_deadline_s=1.0, stall_s=1.0, attempts_max=1):
            row = await workshop.ended(await workshop.order())
    assert (row["state"], row["charged_micro"]) == ("failed", 0)
    assert await workshop.wallet() == (FUNDS_MICRO, 0)
