"""Images that customers send: data URLs read, whatever came checked before and by decoding."""

import binascii
import re

from gateway.media.errors import ImageRejected
from gateway.media.pool import DecoderPool
from gateway.media.tasks import ImageLimits, ProbedImage, ProbeImage, Refused

__all__ = ["ImageLimits", "ProbedImage", "decode_data_url", "is_web_url", "probe_image"]

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"\s*https?:", re.IGNORECASE)


async def probe_image(decoders: DecoderPool, data: bytes, limits: ImageLimits) -> ProbedImage:
    """Decode a still PNG, JPEG or WebP in a confined process; its claimed size is checked before any pixel is.

    Raises ImageRejected; DecoderUnavailable if there is no decoder, which says nothing about the image.
    """
    if len(data) > limits.bytes:
        raise _too_many_bytes(len(data), limits.bytes)
    reply = await decoders.run(ProbeImage(data, limits))
    match reply:
        case ProbedImage():
            return reply
        case Refused(code, detail):
            raise ImageRejected(code, detail)
        case _:
            raise ImageRejected("decoder_crashed", "the decoder answered another question")


def is_web_url(text: str) -> bool:
    """Whether this is meant as a link to an image rather than the image itself."""
    return _WEB_URL.match(text) is not None


def decode_data_url(text: str, limit_bytes: int) -> bytes:
    """The bytes of `data:image/png;base64,…` (or jpeg, webp), not yet checked to be an image.

    The declared type is not believed. Raises ImageRejected: not_a_data_url, too_many_bytes, bad_base64.
    """
    prefix = _DATA_URL.match(text)
    if prefix is None:
        raise ImageRejected("not_a_data_url", "send data:image/png;base64,… (or jpeg, webp), or an https:// link")
    # Base64 writes 3 bytes as 4 characters; the size is known before anything is decoded.
    size_bytes = (len(text) - prefix.end()) * 3 // 4 - text[-2:].count("=")
    if size_bytes > limit_bytes:
        raise _too_many_bytes(size_bytes, limit_bytes)
    try:
        data = binascii.a2b_base64(text[prefix.end() :], strict_mode=True)
    except ValueError as error:
        raise ImageRejected("bad_base64", "the data after the comma is not base64 (RFC 4648, padded, no line breaks)") from error
    # Even the strict decoder of Python 3.11 lets surplus padding pass.
    if not data or len(text) - prefix.end() != (len(data) + 2) // 3 * 4:
        raise ImageRejected("bad_base64", "there is no data after the comma, or more padding than base64 has")
    return data


def _too_many_bytes(size_bytes: int, limit_bytes: int) -> ImageRejected:
    return ImageRejected("too_many_bytes", f"the image has {size_bytes} bytes; {limit_bytes} at most")
