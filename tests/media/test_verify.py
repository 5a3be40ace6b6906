import hashlib
import struct
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from gateway.media.errors import VideoRejected
from gateway.media.pool import DecoderPool
from gateway.media.verify import Expected, extract_frame, verify_video
from tests.media.videos import box_offset, patched, without_box, write_video

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECOND = Expected(width=128, height=96, fps=24, frames=24, exact_length=True, audio=False)


async def refused(decoders: DecoderPool, path: Path, expected: Expected = SECOND) -> str:
    with pytest.raises(VideoRejected) as caught:
        await verify_video(decoders, path, expected)
    return caught.value.code


def variant(expected: Expected, **fields: object) -> Expected:
    return msgspec.structs.replace(expected, **fields)


async def test_a_true_video_is_described_from_its_decoded_frames(decoders: DecoderPool, clip: Path) -> None:
    video = await verify_video(decoders, clip, SECOND)
    data = clip.read_bytes()
    assert (video.frames, video.fps_num, video.fps_den) == (24, 24, 1)
    assert (video.width, video.height, video.duration_ms, video.has_audio) == (128, 96, 1000, False)
    assert (video.bytes, video.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("fps, frames, duration_ms", [(24, 1, 41), (25, 7, 280), (30, 91, 3033), (60, 61, 1016)])
async def test_every_rate_and_length_counts_exactly(
    decoders: DecoderPool, tmp_path: Path, fps: int, frames: int, duration_ms: int
) -> None:
    path = write_video(tmp_path / "v.mp4", fps=fps, frames=frames, faststart=True)
    video = await verify_video(decoders, path, variant(SECOND, fps=fps, frames=frames))
    assert (video.frames, video.duration_ms) == (frames, duration_ms)


async def test_sound_is_decoded_and_reported(decoders: DecoderPool, sound_clip: Path) -> None:
    assert (await verify_video(decoders, sound_clip, variant(SECOND, audio=True))).has_audio
    assert (await verify_video(decoders, sound_clip, SECOND)).has_audio


async def test_missing_or_short_sound_is_refused_when_promised(decoders: DecoderPool, tmp_path: Path, clip: Path) -> None:
    wanted = variant(SECOND, audio=True)
    assert await refused(decoders, clip, wanted) == "missing_audio"
    assert await refused(decoders, write_video(tmp_path / "short.mp4", sound_s=0.3), wanted) == "missing_audio"
    assert await refused(decoders, write_video(tmp_path / "long.mp4", sound_s=3.0), wanted) == "duration_mismatch"


async def test_a_shorter_video_passes_only_where_the_length_is_open(decoders: DecoderPool, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", frames=20)
    assert await refused(decoders, path) == "wrong_frames"
    assert (await verify_video(decoders, path, variant(SECOND, exact_length=False))).frames == 20
    assert await refused(decoders, path, variant(SECOND, exact_length=False, frames=19)) == "wrong_frames"


async def test_another_size_or_rate_is_refused(decoders: DecoderPool, clip: Path) -> None:
    assert await refused(decoders, clip, variant(SECOND, width=96, height=128)) == "wrong_size"
    assert await refused(decoders, clip, variant(SECOND, fps=25)) == "wrong_fps"


async def test_what_is_not_h264_in_mp4_is_refused(decoders: DecoderPool, tmp_path: Path) -> None:
    text = tmp_path / "v.mp4"
    text.write_text("this is not a video, whatever its name says\n" * 100)
    assert await refused(decoders, text) == "not_mp4"
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert await refused(decoders, empty) == "not_mp4"
    assert await refused(decoders, tmp_path / "absent.mp4") == "not_mp4"
    assert await refused(decoders, tmp_path) == "not_mp4"
    assert await refused(decoders, write_video(tmp_path / "old.mp4", codec="mpeg4")) == "not_h264"


async def test_an_unfinished_file_has_no_moov(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(without_box(clip.read_bytes(), b"moov"))
    assert await refused(decoders, path) == "missing_moov"


async def test_a_box_that_claims_more_than_the_file_is_refused_at_once(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    at = box_offset(data, b"mdat") - 8
    path.write_bytes(patched(data, at, struct.pack(">I", 0xFFFFFFF0)))
    assert await refused(decoders, path) == "truncated"
    sizes = box_offset(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    path.write_bytes(patched(data, sizes + 8, struct.pack(">I", 0xFFFFFFFF)))
    assert await refused(decoders, path) == "truncated"
    path.write_bytes(patched(data, sizes + 4, struct.pack(">I", 0x7FFFFFFF)))
    assert await refused(decoders, path) == "truncated"


async def test_zero_frames_are_never_a_video(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    table = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
    data = patched(data, box_offset(data, *table, b"stsz") + 8, bytes(4))
    data = patched(data, box_offset(data, *table, b"stts") + 4, bytes(4))
    path.write_bytes(data)
    assert await refused(decoders, path, variant(SECOND, exact_length=False)) == "zero_frames"


CLAIMS = {
    "mvhd": ((b"moov", b"mvhd"), 16),
    "mdhd": ((b"moov", b"trak", b"mdia", b"mdhd"), 16),
    "stts": ((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"), 12),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("factor", [10, 2, 0.5, 0])
async def test_a_lying_duration_is_refused(decoders: DecoderPool, clip: Path, tmp_path: Path, claim: str, factor: float) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    kinds, field = CLAIMS[claim]
    at = box_offset(data, *kinds) + field
    (ticks,) = struct.unpack_from(">I", data, at)
    path.write_bytes(patched(data, at, struct.pack(">I", int(ticks * factor))))
    assert await refused(decoders, path) in {"duration_mismatch", "wrong_fps", "undecodable"}


async def test_a_duration_wrong_by_less_than_a_frame_passes(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    at = box_offset(data, b"moov", b"mvhd") + 16
    path.write_bytes(patched(data, at, struct.pack(">I", 1030)))
    assert (await verify_video(decoders, path, SECOND)).duration_ms == 1000


async def test_frames_at_the_same_time_are_refused(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    """All composition offsets set to the decode order's: frames leave the decoder with times that repeat or go back."""
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    at = box_offset(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"ctts")
    (entries,) = struct.unpack_from(">I", data, at + 4)
    for index in range(entries):
        data = patched(data, at + 12 + 8 * index, bytes(4))
    path.write_bytes(data)
    assert await refused(decoders, path) in {"undecodable", "wrong_fps"}


async def test_an_edit_list_cannot_multiply_or_hide_frames(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    data, path = clip.read_bytes(), tmp_path / "v.mp4"
    at = box_offset(data, b"moov", b"trak", b"edts", b"elst")
    path.write_bytes(patched(data, at + 8, struct.pack(">I", 200)))
    assert await refused(decoders, path) == "undecodable"


async def test_frames_can_be_taken_out(decoders: DecoderPool, clip: Path, tmp_path: Path) -> None:
    first = Image.open(BytesIO(await extract_frame(decoders, clip, "first")))
    last = Image.open(BytesIO(await extract_frame(decoders, clip, "last")))
    assert (first.format, first.size, last.format, last.size) == ("JPEG", (128, 96), "PNG", (128, 96))
    # The texture rolls 3 pixels a frame: the last frame, rolled back by 23 frames, is the first.
    rolled = Image.new("RGB", last.size)
    rolled.paste(last, (-69, 0))
    rolled.paste(last, (128 - 69, 0))
    difference = sum(abs(a - b) for a, b in zip(rolled.convert("L").tobytes(), first.convert("L").tobytes(), strict=True)) / (
        128 * 96
    )
    unrolled = sum(abs(a - b) for a, b in zip(last.convert("L").tobytes(), first.convert("L").tobytes(), strict=True)) / (
        128 * 96
    )
    assert difference < unrolled / 3
    broken = tmp_path / "v.mp4"
    broken.write_bytes(clip.read_bytes()[:500])
    with pytest.raises(VideoRejected):
        await extract_frame(decoders, broken, "last")
