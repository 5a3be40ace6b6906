"""What a hostile file may do to its decoder, and what it cannot do to anything else."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.media.errors import DecoderUnavailable, VideoRejected
from gateway.media.pool import DecoderPool
from gateway.media.verify import Expected, verify_video
from tests.media.videos import write_long_video

SECOND = Expected(width=128, height=96, fps=24, frames=24, exact_length=True, audio=False)
LONG = Expected(width=1280, height=720, fps=60, frames=1800, exact_length=True, audio=False)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to decode (seconds) that a signal finds its decoder at work."""
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    return write_long_video(path, width=1280, height=720, fps=60, repeats=30)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def processes() -> list[int]:
    """The decoder processes of this test process."""
    return [pid for pid in children(os.getpid()) if b"gateway.media.decoder" in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Empty if the process has ended, also while it is a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def child_at_work(decoder: int) -> int:
    """Wait for the confined child: it is at work once the system calls are filtered."""
    async with asyncio.timeout(20):
        while True:
            for child in children(decoder):
                if "Seccomp:\t2" in Path(f"/proc/{child}/status").read_text(encoding="ascii"):
                    return child
            await asyncio.sleep(0)


async def own_decoder(before: list[int]) -> int:
    (pid,) = set(processes()) - set(before)
    return pid


async def test_a_file_that_kills_its_decoder_is_refused_and_the_next_one_is_not(clip: Path, long_clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1) as decoders:
        decoder = await own_decoder(before)
        job = asyncio.create_task(verify_video(decoders, long_clip, LONG))
        os.kill(await child_at_work(decoder), signal.SIGKILL)
        with pytest.raises(VideoRejected) as caught:
            await job
        assert caught.value.code == "decoder_crashed"
        assert (await verify_video(decoders, clip, SECOND)).frames == 24
        assert decoder in processes()
    assert processes() == before


async def test_a_process_that_dies_by_another_hand_costs_no_file(long_clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1) as decoders:
        decoder = await own_decoder(before)
        job = asyncio.create_task(verify_video(decoders, long_clip, LONG))
        child = await child_at_work(decoder)
        os.kill(decoder, signal.SIGKILL)
        assert (await job).frames == 1800
        assert not command_line(child)


async def test_processes_that_keep_dying_are_our_fault(long_clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1) as decoders:
        job = asyncio.create_task(verify_video(decoders, long_clip, LONG))
        for _ in range(2):
            async with asyncio.timeout(20):
                while not (started := set(processes()) - set(before)):
                    await asyncio.sleep(0)
            (decoder,) = started
            await child_at_work(decoder)
            os.kill(decoder, signal.SIGKILL)
            before.append(decoder)
        with pytest.raises(DecoderUnavailable):
            await job


async def test_a_file_that_hangs_its_decoder_is_refused_in_time(clip: Path, long_clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1, wall_s=2) as decoders:
        decoder = await own_decoder(before)
        job = asyncio.create_task(verify_video(decoders, long_clip, LONG))
        child = await child_at_work(decoder)
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(VideoRejected) as caught:
            await job
        assert caught.value.code == "decoder_timeout"
        assert not command_line(child)
        assert (await verify_video(decoders, clip, SECOND)).frames == 24


async def test_a_file_that_takes_too_much_processor_time_is_refused(clip: Path, long_clip: Path) -> None:
    async with DecoderPool(size=1, cpu_s=1) as decoders:
        with pytest.raises(VideoRejected) as caught:
            await verify_video(decoders, long_clip, LONG)
        assert caught.value.code == "decoder_timeout"
        assert (await verify_video(decoders, clip, SECOND)).frames == 24


async def test_a_decoder_that_dies_idle_costs_no_file(clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1) as decoders:
        decoder = await own_decoder(before)
        os.kill(decoder, signal.SIGKILL)
        assert (await verify_video(decoders, clip, SECOND)).frames == 24


async def test_a_cancelled_verification_leaves_no_process(long_clip: Path, clip: Path) -> None:
    before = processes()
    async with DecoderPool(size=1) as decoders:
        decoder = await own_decoder(before)
        job = asyncio.create_task(verify_video(decoders, long_clip, LONG))
        child = await child_at_work(decoder)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert decoder not in processes()
        async with asyncio.timeout(20):
            while command_line(child):  # it has been killed; on a busy machine it takes a moment to be gone
                await asyncio.sleep(0.01)
        assert (await verify_video(decoders, clip, SECOND)).frames == 24


async def test_many_files_share_few_decoders(clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    before = processes()
    async with DecoderPool(size=2) as decoders:
        paths = [clip, text] * 8
        results = await asyncio.gather(*(verify_video(decoders, path, SECOND) for path in paths), return_exceptions=True)
        assert len(set(processes()) - set(before)) == 2
    assert [isinstance(result, VideoRejected) for result in results] == [False, True] * 8
    assert processes() == before


async def test_no_memory_for_a_decode_is_a_refusal(long_clip: Path) -> None:
    async with DecoderPool(size=1, memory_bytes=4 * 1024 * 1024) as decoders:
        with pytest.raises(VideoRejected) as caught:
            await verify_video(decoders, long_clip, LONG)
        assert caught.value.code in {"undecodable", "decoder_crashed"}


async def test_a_decoder_that_cannot_start_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderUnavailable):
        async with DecoderPool(size=1):
            pass
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailable):
        async with DecoderPool(size=1):
            pass


FORBIDDEN = {
    "network": "import socket; socket.socket()",
    "program": "import os; os.execv('/bin/true', ['true'])",
    "process": "import os; os.fork()",
    "signal": "import os; os.kill(os.getppid(), 0)",
    "write": "import os; os.open('VICTIM', os.O_WRONLY)",
    "truncate": "import os; os.open('VICTIM', os.O_RDONLY | os.O_TRUNC)",
    "create": "import os; os.open('VICTIM-2', os.O_RDONLY | os.O_CREAT)",
    "delete": "import os; os.unlink('VICTIM')",
    "memory": "bytearray(200 << 20)",
}


@pytest.mark.parametrize("deed", FORBIDDEN)
def test_a_confined_process_can_do_nothing_but_compute(deed: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    attempt = FORBIDDEN[deed].replace("VICTIM", str(victim))
    program = "from gateway.media.confine import confine; import socket\n{}{}\nprint('done')"
    ran = {
        confined: subprocess.run(
            [sys.executable, "-c", program.format("confine(100 << 20, 10)\n" if confined else "", attempt)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=False,
            timeout=30,
        )
        for confined in (True, False)
    }
    assert ran[True].returncode != 0
    assert b"done" not in ran[True].stdout
    # Unconfined, the same line works: it is the confinement that refuses.
    assert ran[False].returncode == 0, ran[False].stderr
