"""Goal: over any number of damaged videos, none is counted as more than it holds, and none does anything but pass or be
refused. TALLYLIGHT_DAMAGED_VIDEOS sets how many bit-flipped files are tried (48 by default).
"""

import os
import random
from pathlib import Path

import pytest

from gateway.media.errors import VideoRejected
from gateway.media.pool import DecoderPool
from gateway.media.verify import Expected, verify_video
from tests.media.videos import box_offset

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAMES = 24
# Room for over-counting: a file that decodes to more than its true frames would pass.
OPEN = Expected(width=128, height=96, fps=24, frames=10 * FRAMES, exact_length=False, audio=False)
DAMAGED_VIDEOS = int(os.environ.get("TALLYLIGHT_DAMAGED_VIDEOS", "48"))
# Seeds that once broke something.
FOUND = {"anywhere": [1583], "tables": [1534], "sound": []}


async def count(decoders: DecoderPool, path: Path) -> int | None:
    """Frames, or None if the video is refused. Anything else fails the test."""
    try:
        return (await verify_video(decoders, path, OPEN)).frames
    except VideoRejected as refusal:
        if refusal.code in {"decoder_crashed", "decoder_timeout"}:
            raise
        return None


async def test_a_truncated_video_is_refused_at_every_length(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    lengths = {0, 1, 7, 8, 31, 32, 39, 40, 41, len(data) - 1, *range(100, len(data), len(data) // 40)}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        assert await count(decoders, path) is None, length


@pytest.mark.parametrize("region", ["anywhere", "tables", "sound"])
async def test_flipped_bits_never_add_a_frame(
    decoders: DecoderPool, clip: Path, sound_clip: Path, tmp_path: Path, region: str
) -> None:
    data = (sound_clip if region == "sound" else clip).read_bytes()
    tables = box_offset(data, b"moov") - 8
    path = tmp_path / "v.mp4"
    for seed in [*range(max(1, DAMAGED_VIDEOS // 3)), *FOUND[region]]:
        rng = random.Random(f"{region} {seed}")
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
            at = rng.randrange(tables if region == "tables" else 0, len(data))
            damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert await count(decoders, path) in (None, FRAMES), f"{region} {seed}"


async def test_the_undamaged_videos_pass(decoders: DecoderPool, clip: Path, sound_clip: Path) -> None:
    assert await count(decoders, clip) == FRAMES
    assert await count(decoders, sound_clip) == FRAMES
