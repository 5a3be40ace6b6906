"""Decode a whole image that someone sent. Runs in a confined process only."""

import importlib
import io
import struct
import zlib

from PIL import Image

from gateway.media.errors import ImageRejected
from gateway.media.image_headers import read_header
from gateway.media.tasks import ImageLimits, ProbedImage

# What Pillow raises for damaged or hostile data.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, ArithmeticError, MemoryError, LookupError, struct.error, zlib.error)


def warm() -> None:
    """Set the process up once, so that each child inherits it: our own limits replace Pillow's guess."""
    Image.MAX_IMAGE_PIXELS = None
    for plugin in ("PngImagePlugin", "JpegImagePlugin", "MpoImagePlugin", "WebPImagePlugin"):
        importlib.import_module(f"PIL.{plugin}")


def probe(data: bytes, limits: ImageLimits) -> ProbedImage:
    """Check the claimed size, then decode every pixel. Raises ImageRejected."""
    header = read_header(data)
    width, height = header.width, header.height
    if max(width, height) > limits.edge:
        raise ImageRejected("edge_too_long", f"the image is {width}x{height}; {limits.edge} pixels per edge at most")
    if width * height > limits.pixels:
        raise ImageRejected("too_many_pixels", f"the image is {width}x{height}; {limits.pixels} pixels in all at most")
    try:
        with Image.open(io.BytesIO(data), formats=[header.format.upper()]) as image:
            image.load()
            size = image.size
    except _DECODE_ERRORS as error:
        raise ImageRejected("undecodable", f"the image does not decode ({type(error).__name__}); save it again") from error
    if size != (width, height):
        raise ImageRejected("undecodable", f"the image says {width}x{height} and decodes to {size[0]}x{size[1]}; save it again")
    return ProbedImage(header.format, width, height)
