import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin
from structlog.testing import capture_logs

from gateway.media.errors import ImageRejected
from gateway.media.images import ImageLimits, probe_image
from gateway.media.pool import DecoderPool

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMITS = ImageLimits(bytes=10_000_000, pixels=36_000_000, edge=8_000)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    body = BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


PHOTO = Image.radial_gradient("L").resize((320, 200)).convert("RGB")
PNG, JPEG, WEBP = encoded(PHOTO, "PNG"), encoded(PHOTO, "JPEG"), encoded(PHOTO, "WEBP")
KINDS = {"png": PNG, "jpeg": JPEG, "webp": WEBP}


def png_of(width: int, height: int) -> bytes:
    """A grey PNG of any size in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(width // 8 + 2)[: (width + 7) // 8 + 1]) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


async def refused(decoders: DecoderPool, data: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(ImageRejected) as caught:
        await probe_image(decoders, data, limits)
    return caught.value.code


async def peak_bytes(decoders: DecoderPool, data: bytes, limits: ImageLimits) -> int:
    """Peak resident memory of the process that refused `data`."""
    with capture_logs() as lines:
        await refused(decoders, data, limits)
    return lines[-1]["peak_bytes"]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_format_is_recognised_by_its_bytes(decoders: DecoderPool, kind: str) -> None:
    image = await probe_image(decoders, KINDS[kind], LIMITS)
    assert (image.format, image.width, image.height) == (kind, 320, 200)


VARIANTS = {
    "png alpha": encoded(PHOTO.convert("RGBA"), "PNG"),
    "png palette": encoded(PHOTO.convert("P"), "PNG"),
    "png 16 bit": encoded(PHOTO.convert("I;16"), "PNG"),
    "png text": encoded(PHOTO, "PNG", pnginfo=PngImagePlugin.PngInfo()),
    "jpeg progressive": encoded(PHOTO, "JPEG", progressive=True),
    "jpeg grey": encoded(PHOTO.convert("L"), "JPEG"),
    "jpeg cmyk": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg padded": JPEG + bytes(7),
    "jpeg with restart markers": encoded(PHOTO, "JPEG", restart_marker_blocks=4),
    "jpeg of a phone, with a second picture": encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "webp lossless": encoded(PHOTO, "WEBP", lossless=True),
    "webp alpha": encoded(PHOTO.convert("RGBA"), "WEBP"),
    "webp with metadata": encoded(PHOTO, "WEBP", icc_profile=b"x" * 101, exif=b"Exif\0\0MM\0*" + bytes(9)),
}


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_variants_that_cameras_and_tools_write_pass(decoders: DecoderPool, name: str) -> None:
    image = await probe_image(decoders, VARIANTS[name], LIMITS)
    assert (image.width, image.height) == (320, 200)


async def test_caps_hold_at_their_edge(decoders: DecoderPool) -> None:
    exact = ImageLimits(bytes=len(PNG), pixels=320 * 200, edge=320)
    assert (await probe_image(decoders, PNG, exact)).width == 320
    assert await refused(decoders, PNG, ImageLimits(len(PNG) - 1, 64_000, 320)) == "too_many_bytes"
    assert await refused(decoders, PNG, ImageLimits(len(PNG), 63_999, 320)) == "too_many_pixels"
    assert await refused(decoders, PNG, ImageLimits(len(PNG), 64_000, 319)) == "edge_too_long"


@pytest.mark.parametrize("side", [9_000, 20_000])
async def test_a_bomb_is_refused_by_its_header(decoders: DecoderPool, side: int) -> None:
    bomb = png_of(side, side)
    assert len(bomb) < 100_000
    assert await refused(decoders, bomb) == "edge_too_long"
    assert await refused(decoders, bomb, ImageLimits(10_000_000, 36_000_000, 30_000)) == "too_many_pixels"
    assert await peak_bytes(decoders, bomb, LIMITS) < 64_000_000


async def test_a_bomb_that_the_caps_allow_cannot_take_more_than_its_memory(decoders: DecoderPool) -> None:
    """The limit of the process holds even where the caps were set too high."""
    bomb, allowed = png_of(20_000, 20_000), ImageLimits(10_000_000, 500_000_000, 30_000)
    async with DecoderPool(size=1, memory_bytes=128 << 20) as small:
        assert await refused(small, bomb, allowed) == "undecodable"
        assert (await probe_image(small, PNG, LIMITS)).width == 320
        assert await peak_bytes(small, bomb, allowed) < 200_000_000


async def test_headers_that_lie_are_refused(decoders: DecoderPool) -> None:
    small_claim = bytearray(png_of(2_000, 2_000))
    small_claim[16:24] = struct.pack(">II", 20, 20)
    assert await refused(decoders, bytes(small_claim)) == "undecodable"
    see_through = PHOTO.copy()
    see_through.putalpha(100)
    webp = bytearray(encoded(see_through, "WEBP"))
    assert webp[12:16] == b"VP8X"
    webp[24:27] = (100).to_bytes(3, "little")
    assert await refused(decoders, bytes(webp)) == "undecodable"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_truncated_image_is_refused_at_every_length(decoders: DecoderPool, kind: str) -> None:
    data = KINDS[kind]
    for length in {*range(1, 64, 7), *range(64, len(data), max(1, len(data) // 12)), len(data) - 1}:
        assert await refused(decoders, data[:length]) in {"truncated", "undecodable", "unsupported_format"}, length


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_file_behind_the_image_is_refused(decoders: DecoderPool, kind: str) -> None:
    for tail in (b"PK\x03\x04" + bytes(30), b"<script>alert(1)</script>", JPEG):
        assert await refused(decoders, KINDS[kind] + tail) == "trailing_data"


async def test_animated_images_are_refused(decoders: DecoderPool) -> None:
    frames = {"save_all": True, "append_images": [PHOTO.rotate(90)], "duration": 40}
    assert await refused(decoders, encoded(PHOTO, "PNG", **frames)) == "animated"
    assert await refused(decoders, encoded(PHOTO, "WEBP", **frames)) == "animated"


async def test_other_formats_are_refused(decoders: DecoderPool) -> None:
    for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM"):
        assert await refused(decoders, encoded(PHOTO, kind)) == "unsupported_format"
    for data in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS", bytes(1000)):
        assert await refused(decoders, data) == "unsupported_format"


async def test_damaged_images_never_do_anything_but_pass_or_be_refused(decoders: DecoderPool) -> None:
    for kind, data in KINDS.items():
        for at in range(8, len(data), max(1, len(data) // 40)):
            damaged = bytearray(data)
            damaged[at] ^= 0x55
            try:
                assert (await probe_image(decoders, bytes(damaged), LIMITS)).format == kind
            except ImageRejected as refusal:
                if refusal.code in {"decoder_crashed", "decoder_timeout"}:
                    raise
