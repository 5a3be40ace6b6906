"""A disk that fills up: no work is started without room, what cannot be kept is not charged, and room is enough to go on."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.faults.harness import FUNDS_MICRO, RATE_MICRO
from tests.faults.workshop import SOON_S, Triton, Workshop

CHARGE_MICRO = 562 * RATE_MICRO // 1000
DISK_BYTES = 1 << 20


class Disk:
    """A file system of DISK_BYTES under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        self._filler.unlink()


class AwayFolder(Disk):
    """Where nobody may mount a disk: a folder that is not there when it should be full, and then has no room either."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self._away, self._usage, self._monkeypatch = folder.with_name("away"), shutil.disk_usage(folder), monkeypatch

    def fill(self) -> None:
        self.folder.rename(self._away)
        self._monkeypatch.setattr("shutil.disk_usage", lambda _: self._usage._replace(free=0))

    def make_room(self) -> None:
        self._away.rename(self.folder)
        self._monkeypatch.setattr("shutil.disk_usage", lambda _: self._usage)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield AwayFolder(folder, monkeypatch)
        return
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def said(logs: list[EventDict], event: str) -> None:
    async with asyncio.timeout(SOON_S):
        while not any(entry["event"] == event for entry in logs):
            await asyncio.sleep(0.02)


async def test_without_room_in_the_spool_a_job_waits(workshop: Workshop, disk: Disk) -> None:
    with capture_logs() as logs:
        async with workshop.dispatching(spool_dir=str(disk.folder), disk_free_min_bytes=DISK_BYTES // 4):
            await said(logs, "leading")
            disk.fill()
            await said(logs, "spool_full")
            job_id = await workshop.order()
            logs.clear()
            await said(logs, "spool_full")
            assert (await workshop.job(job_id))["state"] == "queued"
            disk.make_room()
            assert (await workshop.ended(job_id))["state"] == "succeeded"
    assert await workshop.attempts(job_id) == [("r0", "succeeded", None)]
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)


async def test_a_video_that_does_not_fit_into_the_spool_is_not_charged(workshop: Workshop, disk: Disk) -> None:
    async with workshop.dispatching(spool_dir=str(disk.folder), attempts_max=1):
        first = await workshop.ended(await workshop.order())
        disk.fill()
        second = await workshop.ended(await workshop.order())
        disk.make_room()
        assert not list(disk.folder.rglob("*.mp4"))
        third = await workshop.ended(await workshop.order())
    assert [row["state"] for row in (first, second, third)] == ["succeeded", "failed", "succeeded"]
    assert await workshop.wallet() == (FUNDS_MICRO - 2 * CHARGE_MICRO, 0)


async def test_a_video_that_does_not_fit_into_the_store_waits_for_room(
    workshop: Workshop, triton: Triton, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.produce._STORE_PAUSE_MAX_S", 0.05)
    made = triton.ended("testcard")
    with capture_logs() as logs:
        async with workshop.dispatching(media_url=f"file://{disk.folder}/media"):
            await said(logs, "leading")
            disk.fill()
            job_id = await workshop.order()
            await said(logs, "store_again")
            assert await workshop.wallet() == (FUNDS_MICRO, CHARGE_MICRO)
            disk.make_room()
            row = await workshop.ended(job_id)
    assert row["state"] == "succeeded"
    assert triton.ended("testcard") == made + 1
    assert all((disk.folder / "media" / artifact.key).exists() for artifact in workshop.artifacts(row).values())
    assert await workshop.wallet() == (FUNDS_MICRO - CHARGE_MICRO, 0)
