"""Render a plan into an MP4 file: H.264 and, on request, a 1 kHz tone in AAC, index in front (faststart).

The file lives without a name in the temporary directory, so it is gone when the process is, however it ends. Its size is bounded:
the encoder may not exceed VIDEO_BITS_PER_S_MAX, 180 MB at the 120 s that a plan allows.
"""

import fractions
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol, Self, cast

import av
import numpy as np

from testcard.motion import Canvas
from testcard.plan import Plan

VIDEO_BITS_PER_S_MAX = 12_000_000
SAMPLE_RATE = 48_000
TONE_HZ = 1_000
TONE_AMPLITUDE = 0.1
"""-20 dBFS, the usual line-up level."""


class Stream(Protocol):
    """What is used of PyAV's streams, whose own annotations are incomplete."""

    width: int
    height: int
    pix_fmt: str | None
    time_base: fractions.Fraction | None
    codec_context: Any

    def encode(self, frame: av.VideoFrame | av.AudioFrame | None = None) -> list[Any]: ...


class Container(Protocol):
    """What is used of PyAV's output container."""

    def add_stream(self, codec_name: str, rate: int, **options: str) -> Stream: ...
    def mux(self, packets: list[Any]) -> None: ...


class Clip:
    """`for frames_done in clip.render(): …` renders; then `file()` reads it. Closing it deletes it."""

    def __init__(self, plan: Plan, *, threads: int) -> None:
        self.plan = plan
        self._threads = threads
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="testcard-")  # noqa: SIM115 - closed by close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def render(self) -> Iterator[int]:
        """Yield the number of frames encoded after each one; the file is complete when the iterator ends."""
        plan = self.plan
        canvas = Canvas(plan)
        tick = fractions.Fraction(1, plan.fps)
        # The path reopens the nameless file, which the muxer needs for its second pass.
        path = f"/proc/self/fd/{self._file.fileno()}"
        with av.open(path, "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as opened:
            container = cast(Container, opened)
            video = self._video_stream(container)
            tone = _Tone(container) if plan.audio else None
            for index in range(plan.frames):
                canvas.paint(index)
                canvas.frame.pts, canvas.frame.time_base = index, tick
                container.mux(video.encode(canvas.frame))
                if tone is not None:
                    tone.fill_to((index + 1) * SAMPLE_RATE // plan.fps)
                yield index + 1
            container.mux(video.encode(None))
            if tone is not None:
                tone.finish()

    def file(self) -> BinaryIO:
        self._file.seek(0)
        return self._file

    def _video_stream(self, container: Container) -> Stream:
        stream = container.add_stream("libx264", rate=self.plan.fps)
        stream.width, stream.height, stream.pix_fmt = self.plan.width, self.plan.height, "yuv420p"
        stream.time_base = fractions.Fraction(1, self.plan.fps)
        context = stream.codec_context
        context.thread_count = self._threads
        context.gop_size = self.plan.fps * 2
        # ITU-R BT.709 throughout, studio swing (codes of ITU-T H.273).
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        ceiling = str(VIDEO_BITS_PER_S_MAX)
        context.options = {"preset": "ultrafast", "crf": "23", "maxrate": ceiling, "bufsize": ceiling}
        return stream


class _Tone:
    """The line-up tone, cut to the length of the picture to the sample."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self._done = self._wanted = 0
        period = SAMPLE_RATE // TONE_HZ
        wave = TONE_AMPLITUDE * np.sin(2 * np.pi * np.arange(period) / period)
        self._wave = np.tile(wave, 1024 // period + 2).astype(np.float32)

    def fill_to(self, samples: int) -> None:
        while self._done + 1024 <= samples:
            self._encode(1024)
        self._wanted = samples

    def finish(self) -> None:
        if self._wanted > self._done:
            self._encode(self._wanted - self._done)
        self._container.mux(self._stream.encode(None))

    def _encode(self, count: int) -> None:
        start = self._done % (SAMPLE_RATE // TONE_HZ)
        frame = av.AudioFrame.from_ndarray(self._wave[None, start : start + count], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._done
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self._container.mux(self._stream.encode(frame))
        self._done += count
