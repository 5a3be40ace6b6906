"""Real MP4 files, and ways to damage them."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np


def write_video(
    path: Path,
    *,
    frames: int = 24,
    fps: int = 24,
    width: int = 128,
    height: int = 96,
    codec: Literal["libx264", "mpeg4"] = "libx264",
    sound_s: float | None = None,
    faststart: bool = False,
    b_frames: bool = True,
) -> Path:
    """An H.264 MP4 of moving noise with B-frames and, with `sound_s`, an AAC track of that many seconds."""
    texture = np.random.default_rng(7).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    texture = texture.repeat(8, 0).repeat(8, 1)
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            video.options = {"preset": "veryfast"} if b_frames else {"preset": "ultrafast", "bf": "0"}
        sound = container.add_stream("aac", rate=48000) if sound_s is not None else None
        for index in range(frames):
            picture = np.ascontiguousarray(np.roll(texture, index * 3, 1))
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if sound is not None:
            samples = round((sound_s or 0) * 48000)
            tone = (np.sin(np.arange(samples) / 20) * 0.2).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path


CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


def box_offset(data: bytes, *kinds: bytes) -> int:
    """Where the body of the first box along the path `kinds` starts."""
    low, high = 0, len(data)
    for kind in kinds:
        while low < high:
            size, found = struct.unpack_from(">I4s", data, low)
            if found == kind:
                low, high = low + 8, low + size
                break
            low += size
        else:
            raise LookupError(kind)
    return low


def patched(data: bytes, offset: int, replacement: bytes) -> bytes:
    return data[:offset] + replacement + data[offset + len(replacement) :]


def without_box(data: bytes, kind: bytes) -> bytes:
    """`data` with the top-level box `kind` turned into free space, so that every offset still holds."""
    return patched(data, box_offset(data, kind) - 4, b"free")


def write_long_video(path: Path, *, width: int, height: int, fps: int, repeats: int) -> Path:
    """A second of video `repeats` times over: long to decode, quick to write. Closed groups, no B-frames."""
    short = write_video(path.with_suffix(".short.mp4"), frames=fps, fps=fps, width=width, height=height, b_frames=False)
    with av.open(str(short)) as source, av.open(str(path), "w", format="mp4") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        for index in range(repeats * fps):
            body, is_keyframe = packets[index % fps]
            packet = av.Packet(body)
            packet.stream, packet.is_keyframe = copy, is_keyframe
            packet.time_base = Fraction(1, fps)
            packet.pts = packet.dts = index
            packet.duration = 1
            target.mux(packet)
    return path
