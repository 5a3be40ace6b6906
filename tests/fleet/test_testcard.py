"""The reference model on a real Triton: the film it delivers is the film that was asked for."""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gateway.fleet.errors import RequestRefused
from gateway.fleet.model import Chunk, GenerateRequest, Progress, ReferenceMedia
from gateway.fleet.server import TritonServer
from gateway.local import triton as launcher

RequestFor = Callable[..., GenerateRequest]


class Running(Protocol):
    pid: int
    url: str


class StartTriton(Protocol):
    def __call__(self, models: Sequence[Path]) -> AbstractContextManager[Running]: ...


async def film(server: TritonServer, request: GenerateRequest) -> bytes:
    chunks = [
        event.data async for event in server.generate("testcard", request, stall_s=20, deadline_s=60) if isinstance(event, Chunk)
    ]
    return b"".join(chunks)


def frames(mp4: bytes) -> list[NDArray[np.uint8]]:
    with av.open(io.BytesIO(mp4), "r") as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "size,fps,count", [((320, 180), 24, 12), ((64, 64), 30, 1), ((180, 320), 25, 26), ((854, 480), 7, 5), ((1280, 720), 60, 33)]
)
async def test_frames_size_and_rate_are_exact(
    server: TritonServer, request_for: RequestFor, size: tuple[int, int], fps: int, count: int
) -> None:
    mp4 = await film(server, request_for(width=size[0], height=size[1], fps=fps, frames=count))
    with av.open(io.BytesIO(mp4), "r") as container:
        track = container.streams.video[0]
        assert (track.width, track.height, track.average_rate) == (*size, fps)
        assert (track.codec_context.name, track.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert not container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == count


async def test_the_tone_is_as_long_as_the_picture_and_is_1_khz(server: TritonServer, request_for: RequestFor) -> None:
    mp4 = await film(server, request_for(fps=25, frames=40, audio=True))
    with av.open(io.BytesIO(mp4), "r") as container:
        track = container.streams.audio[0]
        assert track.codec_context.name == "aac"
        assert (track.duration or 0) * (track.time_base or 0) == Fraction(40, 25)
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(sound[4800:9600]))
    assert np.argmax(spectrum) * 48000 / 4800 == 1000


async def test_the_index_stands_in_front_of_the_pictures(server: TritonServer, request_for: RequestFor) -> None:
    mp4 = await film(server, request_for())
    assert 0 < mp4.index(b"moov") < mp4.index(b"mdat")


async def test_equal_inputs_give_equal_files_on_any_attempt(server: TritonServer, request_for: RequestFor) -> None:
    first = await film(server, request_for(audio=True))
    second = await film(server, request_for(audio=True, job_id="job_2", attempt=2))
    assert first == second


async def test_the_seed_moves_the_discs_and_the_prompt_changes_the_text_alone(
    server: TritonServer, request_for: RequestFor
) -> None:
    discs, text = slice(0, 64), slice(118, 160)
    requests = [request_for(frames=1, **changes) for changes in ({}, {"seed": 8}, {"prompt": "A harbour in fog"})]
    base, seeded, told = [frames(await film(server, request))[0].astype(int) for request in requests]
    assert np.abs(base[discs] - seeded[discs]).max() > 100
    assert np.abs(base[text] - told[text]).max() > 100
    assert np.abs(base[discs] - told[discs]).max() < 20


async def test_something_moves_and_the_frame_counter_runs(server: TritonServer, request_for: RequestFor) -> None:
    pictures = frames(await film(server, request_for(frames=24)))
    moving, clock = slice(0, 64), slice(68, 86)
    assert all((a[clock] != b[clock]).any() for a, b in pairwise(pictures))
    assert (pictures[0][moving].astype(int) - pictures[-1][moving]).max() > 100


async def test_progress_runs_from_nothing_to_everything(server: TritonServer, request_for: RequestFor) -> None:
    events = [event async for event in server.generate("testcard", request_for(), stall_s=20, deadline_s=60)]
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[0], progress[-1]) == (Progress(0, 12), Progress(12, 12))


async def test_the_model_picks_a_length_from_the_prompt(server: TritonServer, request_for: RequestFor) -> None:
    prompts = ["one", "two", "three", "four", "five"]
    lengths = [
        len(frames(await film(server, request_for(prompt=p, auto_length=True, frames=40, width=64, height=64)))) for p in prompts
    ]
    assert all(20 <= length <= 40 for length in lengths)
    assert len(set(lengths)) > 1
    again = await film(server, request_for(prompt="one", auto_length=True, frames=40, width=64, height=64, job_id="job_2"))
    assert len(frames(again)) == lengths[0]


@pytest.mark.parametrize(
    "prompt",
    ["", "灯台 маяк منارة 🌊", "\x00\x1b[31m\n\t\u202e", "x" * 20_000, "long words " * 500, "é" * 300],
    ids=["empty", "scripts", "controls", "one-word", "many-words", "accents"],
)
async def test_any_prompt_can_be_drawn(server: TritonServer, request_for: RequestFor, prompt: str) -> None:
    assert len(frames(await film(server, request_for(prompt=prompt, frames=2)))) == 2


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()


async def test_the_first_frame_is_shown(server: TritonServer, request_for: RequestFor) -> None:
    media = (ReferenceMedia("reference", picture("lime")), ReferenceMedia("first_frame", picture("red")))
    shown = frames(await film(server, request_for(media=media, frames=1)))[0][130:, 240:]
    assert ((shown[..., 0] > 200) & (shown[..., 1] < 60)).sum() > 500


def peak_mb(pid: int) -> int:
    """The most memory the process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


@pytest.mark.knob("TALLYLIGHT_TEST_LONG")
async def test_two_minutes_of_1080p_take_bounded_memory(start_triton: StartTriton, request_for: RequestFor) -> None:
    with start_triton([launcher.BUNDLED_MODELS]) as running:
        server = TritonServer(running.url)
        request = request_for(width=1920, height=1080, fps=30, frames=3600, audio=True)
        delivered = 0
        async for event in server.generate("testcard", request, stall_s=60, deadline_s=600):
            delivered += len(event.data) if isinstance(event, Chunk) else 0
        peaks = [peak_mb(pid) for pid in (running.pid, *launcher.instances(running.pid))]
        await server.close()
    assert delivered > 5_000_000
    assert len(peaks) == 3
    assert max(peaks) < 200, f"peak resident memory of the server and its two instances in MB: {peaks}"


@pytest.mark.parametrize(
    "changes,reason",
    [
        ({"width": 321}, "even"),
        ({"width": 62}, "outside"),
        ({"width": 1920, "height": 1920}, "outside"),
        ({"width": -2}, "outside"),
        ({"fps": 0}, "fps"),
        ({"fps": 61}, "fps"),
        ({"frames": 0}, "frames"),
        ({"frames": 24 * 120 + 1}, "frames"),
        ({"prompt": "x" * 70_000}, "prompt"),
        ({"media": (ReferenceMedia("first_frame", b"no picture"),)}, "decoded"),
        ({"media": (ReferenceMedia("first_frame", b""),)}, "decoded"),
        ({"media": (ReferenceMedia("reference", picture("red")[:-30]),)}, "decoded"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_the_reason(
    server: TritonServer, request_for: RequestFor, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(RequestRefused, match=reason):
        await film(server, request_for(**changes))
