"""Decode a whole video and compare what comes out with what was promised. Runs in a confined process only."""

import hashlib
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from io import BufferedReader, BytesIO
from typing import Literal

import av
import msgspec
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from gateway.media.boxes import Movie, Track, read_movie
from gateway.media.errors import VideoRejected
from gateway.media.tasks import Expected, VerifiedVideo

FILE_BYTES_MAX = 1 << 30
PIXELS_MAX = 4096 * 2304
FRAMES_MAX = 60 * 120
"""One minute at 120 frames per second: beyond any job, low enough that a decode ends."""

SOUND_DIFFERENCE_MAX = Fraction(1, 2)
"""Seconds by which sound may be shorter or longer than the picture: encoders pad and prime sound by tens of
milliseconds; half a second is already heard as missing.
"""

_JPEG_QUALITY = 90

# What PyAV raises for hostile data, besides its own error: bad arguments, lost text, an allocation refused by the limit.
_DECODE_ERRORS = (FFmpegError, ValueError, OSError, ArithmeticError, MemoryError)


class _Decoded(msgspec.Struct, frozen=True):
    """What came out of the decoder: presentation times of the frames in ticks of `time_base` s, and sound in seconds."""

    pts: tuple[int, ...]
    time_base: Fraction
    sound_s: Fraction


def verify(path: str, expected: Expected) -> VerifiedVideo:
    """Decode every frame and every sound sample of `path`. Raises VideoRejected if it is not the expected video."""
    with _open(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        movie = read_movie(file, size_bytes)
        picture = _picture_claim(movie)
        _check_claims(picture, movie, expected)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        decoded = _decode(file, expected)
    frames = len(decoded.pts)
    if frames != picture.samples:
        raise VideoRejected("undecodable", f"the file lists {picture.samples} frames, {frames} decode")
    if frames > expected.frames or (expected.exact_length and frames != expected.frames):
        raise VideoRejected("wrong_frames", f"{frames} frames decode, {expected.frames} were promised")
    _check_times(decoded, expected.fps)
    _check_durations(movie, picture, decoded, expected)
    return VerifiedVideo(
        frames=frames,
        fps_num=expected.fps,
        fps_den=1,
        width=expected.width,
        height=expected.height,
        duration_ms=frames * 1000 // expected.fps,
        has_audio=decoded.sound_s > 0,
        bytes=size_bytes,
        sha256=sha256,
    )


def extract(path: str, which: Literal["first", "last"]) -> bytes:
    """The first frame as JPEG, or the last as PNG. Raises VideoRejected if the file does not decode up to there."""
    chosen: VideoFrame | None = None
    with _open(path) as file:
        _picture_claim(read_movie(file, os.fstat(file.fileno()).st_size))
        try:
            for frame in _frames(file):
                if isinstance(frame, VideoFrame):
                    chosen = frame
                    if which == "first":
                        break
            if chosen is None:
                raise VideoRejected("zero_frames", "no frame decodes")
            # A second thread would be refused here.
            plane = chosen.reformat(format="rgb24", threads=1).planes[0]
        except _DECODE_ERRORS as error:
            raise _undecodable(error) from error
    image = Image.frombytes("RGB", (chosen.width, chosen.height), bytes(plane), "raw", "RGB", plane.line_size)
    body = BytesIO()
    if which == "first":
        image.save(body, "JPEG", quality=_JPEG_QUALITY)
    else:
        image.save(body, "PNG", compress_level=3)
    return body.getvalue()


def _open(path: str) -> BufferedReader:
    # Non-blocking, so that a pipe under this name cannot hang the open; a regular file is not affected.
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise VideoRejected("not_mp4", f"the file cannot be opened: {error.strerror}") from error
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise VideoRejected("not_mp4", "this is not a regular file")
    if found.st_size > FILE_BYTES_MAX:
        file.close()
        raise VideoRejected("too_large", f"the file has {found.st_size} bytes; {FILE_BYTES_MAX} at most")
    return file


def _picture_claim(movie: Movie) -> Track:
    """The one picture track, within the caps that bound the work of a decode."""
    pictures = [track for track in movie.tracks if track.kind == "vide"]
    if len(pictures) != 1 or pictures[0].codec not in ("avc1", "avc3"):
        raise VideoRejected("not_h264", f"exactly one H.264 track is taken, found {[track.codec for track in pictures]}")
    picture = pictures[0]
    if picture.width * picture.height > PIXELS_MAX or picture.samples > FRAMES_MAX:
        raise VideoRejected("too_large", f"{picture.samples} frames of {picture.width}x{picture.height} are too many to decode")
    if picture.samples == 0:
        raise VideoRejected("zero_frames", "the file lists no frame")
    return picture


def _check_claims(picture: Track, movie: Movie, expected: Expected) -> None:
    """Refuse before the decode what already claims to be something else; a decode is then bounded by the promise."""
    if (picture.width, picture.height) != (expected.width, expected.height):
        raise VideoRejected("wrong_size", f"{picture.width}x{picture.height}, not {expected.width}x{expected.height}")
    if picture.samples > expected.frames or (expected.exact_length and picture.samples != expected.frames):
        raise VideoRejected("wrong_frames", f"the file lists {picture.samples} frames, {expected.frames} were promised")
    sounds = [track for track in movie.tracks if track.kind == "soun"]
    if expected.audio and not sounds:
        raise VideoRejected("missing_audio", "sound was promised, the file has no sound track")
    if len(sounds) > 1:
        raise VideoRejected("not_mp4", f"the file has {len(sounds)} sound tracks; one at most")
    longest = Fraction(expected.frames, expected.fps) + SOUND_DIFFERENCE_MAX
    for sound in sounds:
        if Fraction(max(sound.duration, sound.samples_duration), sound.timescale) > longest:
            raise VideoRejected("duration_mismatch", "the sound track claims to be longer than the picture")


def _frames(file: BufferedReader) -> Iterator[VideoFrame | AudioFrame]:
    """Every frame of the picture and of the first sound track. One thread: bounded memory, one possible result."""
    file.seek(0)
    with _container(file) as container:
        tracks: list[VideoStream | AudioStream] = [*container.streams.video[:1], *container.streams.audio[:1]]
        # PyAV gives a track whose codec the library does not know no codec context, whatever its types say.
        contexts: list[object] = [track.codec_context for track in tracks]
        if not container.streams.video or None in contexts:
            raise VideoRejected("undecodable", "a track has no codec that can decode it")
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        # Without `explode` the decoder paints over damage and hands out frames that nobody made.
        video.codec_context.options = {"err_detect": "explode", "max_pixels": str(PIXELS_MAX)}
        for packet in container.demux(*tracks):
            if packet.is_corrupt:
                raise VideoRejected("undecodable", "the container marks a packet as damaged")
            for frame in packet.decode():
                if not isinstance(frame, VideoFrame | AudioFrame):
                    continue
                if frame.is_corrupt:
                    raise VideoRejected("undecodable", "the decoder marks a frame as damaged")
                yield frame


def _container(file: BufferedReader) -> InputContainer:
    return av.open(file, "r", format="mp4", metadata_errors="ignore")


def _decode(file: BufferedReader, expected: Expected) -> _Decoded:
    pts: list[int] = []
    time_base, sound_s = Fraction(1), Fraction(0)
    try:
        for frame in _frames(file):
            if isinstance(frame, AudioFrame):
                sound_s += Fraction(frame.samples, frame.sample_rate)
                continue
            if (frame.width, frame.height) != (expected.width, expected.height):
                raise VideoRejected("wrong_size", f"a frame is {frame.width}x{frame.height}")
            if frame.pts is None or frame.time_base is None or (pts and frame.pts <= pts[-1]):
                raise VideoRejected("undecodable", f"frame {len(pts)} has no time of its own after the frame before it")
            pts.append(frame.pts)
            time_base = frame.time_base
    except _DECODE_ERRORS as error:
        raise _undecodable(error) from error
    if not pts:
        raise VideoRejected("zero_frames", "no frame decodes")
    return _Decoded(tuple(pts), time_base, sound_s)


def _undecodable(error: BaseException) -> VideoRejected:
    reason = error.strerror if isinstance(error, FFmpegError) else type(error).__name__
    return VideoRejected("undecodable", f"the decoder gave up: {reason}")


def _check_times(decoded: _Decoded, fps: int) -> None:
    """Every frame must be shown at its place on the grid of 1/fps s, give or take one tick of rounding."""
    step = 1 / (fps * decoded.time_base)
    first = decoded.pts[0]
    for index, pts in enumerate(decoded.pts):
        if abs(pts - first - index * step) > 1:
            raise VideoRejected("wrong_fps", f"frame {index} is not shown {index}/{fps} s after the first frame")


def _check_durations(movie: Movie, picture: Track, decoded: _Decoded, expected: Expected) -> None:
    """What players show as the length must be what was decoded, within one frame."""
    frame_s = Fraction(1, expected.fps)
    picture_s = len(decoded.pts) * frame_s
    for claim, ticks in (("header", picture.duration), ("sample table", picture.samples_duration)):
        if abs(Fraction(ticks, picture.timescale) - picture_s) > frame_s:
            raise VideoRejected("duration_mismatch", f"the track's {claim} and its {len(decoded.pts)} frames differ in length")
    movie_s = Fraction(movie.duration, movie.timescale)
    if not picture_s - frame_s <= movie_s <= max(picture_s, decoded.sound_s) + frame_s:
        raise VideoRejected("duration_mismatch", f"the file claims {float(movie_s):.3f} s, {float(picture_s):.3f} s decode")
    if expected.audio and decoded.sound_s < picture_s - SOUND_DIFFERENCE_MAX:
        raise VideoRejected("missing_audio", f"{float(decoded.sound_s):.3f} s of sound for {float(picture_s):.3f} s of picture")
