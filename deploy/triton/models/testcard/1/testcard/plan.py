"""Decide what a request will produce before anything is drawn: limits, length, and the picture to inset."""

import dataclasses
import io
import zlib

from PIL import Image, UnidentifiedImageError

from testcard.contract import Refused, VideoRequest

SIDE_MIN, SIDE_MAX = 64, 1920
AREA_MAX = 1920 * 1088
FPS_MAX = 60
DURATION_MAX_S = 120
PROMPT_BYTES_MAX = 64 * 1024
IMAGE_BYTES_MAX = 32 * 1024 * 1024
IMAGE_PIXELS_MAX = 40_000_000


@dataclasses.dataclass(frozen=True)
class Plan:
    """A clip that can be rendered: even sizes in pixels, exact number of frames."""

    width: int
    height: int
    fps: int
    frames: int
    seed: int
    audio: bool
    prompt: str
    caption: str
    inset: Image.Image | None


def plan(request: VideoRequest) -> Plan:
    """Raises `Refused` for anything outside the limits above."""
    w, h, fps, frames = request.width, request.height, request.fps, request.frames
    if w % 2 or h % 2:
        raise Refused(f"width and height must be even, not {w}x{h}")
    if not (SIDE_MIN <= w <= SIDE_MAX and SIDE_MIN <= h <= SIDE_MAX and w * h <= AREA_MAX):
        raise Refused(f"{w}x{h} is outside {SIDE_MIN}x{SIDE_MIN} to 1920x1088 (or 1088x1920)")
    if not 1 <= fps <= FPS_MAX:
        raise Refused(f"fps must be between 1 and {FPS_MAX}, not {fps}")
    if not 1 <= frames <= fps * DURATION_MAX_S:
        raise Refused(f"frames must be between 1 and {fps * DURATION_MAX_S} ({DURATION_MAX_S} s at {fps} fps), not {frames}")
    if len(request.prompt.encode()) > PROMPT_BYTES_MAX:
        raise Refused(f"prompt is longer than {PROMPT_BYTES_MAX} bytes")
    pictures = [(media.role, _picture(media.data)) for media in request.media]
    return Plan(
        width=w,
        height=h,
        fps=fps,
        frames=_auto_length(request.prompt, frames) if request.auto_length else frames,
        seed=request.seed,
        audio=request.audio,
        prompt=request.prompt,
        caption=f"{w}x{h}  {fps} fps  seed {request.seed}  steps {request.steps}  guidance {request.guidance:g}",
        inset=next((picture for role, picture in pictures if role == "first_frame"), None),
    )


def _auto_length(prompt: str, frames_max: int) -> int:
    """Between half of `frames_max` and all of it; the same prompt always gets the same length."""
    shortest = (frames_max + 1) // 2
    return shortest + zlib.crc32(prompt.encode()) % (frames_max - shortest + 1)


def _picture(data: bytes) -> Image.Image:
    """Decode a reference picture, no larger than a quarter of the largest card. The header is checked before any pixel."""
    if len(data) > IMAGE_BYTES_MAX:
        raise Refused(f"a reference image is larger than {IMAGE_BYTES_MAX} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            if picture.width * picture.height > IMAGE_PIXELS_MAX:
                raise Refused(f"a reference image has more than {IMAGE_PIXELS_MAX} pixels")
            picture.draft("RGB", (960, 960))
            rgb = picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise Refused("a reference image could not be decoded; send PNG, JPEG or WebP") from error
    rgb.thumbnail((960, 960))
    return rgb
