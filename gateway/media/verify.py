"""Is this file the video that was promised? Nothing is charged before the answer is yes."""

from pathlib import Path
from typing import Literal

from gateway.media.errors import VideoRejected
from gateway.media.pool import DecoderPool
from gateway.media.tasks import EncodedFrame, Expected, ExtractFrame, Refused, VerifiedVideo, VerifyVideo

__all__ = ["Expected", "VerifiedVideo", "extract_frame", "verify_video"]


async def verify_video(decoders: DecoderPool, path: Path, expected: Expected) -> VerifiedVideo:
    """Decode every frame and sound sample of an MP4/H.264 file and compare it with `expected`.

    Frames are counted as they come out of the decoder, in a confined process; no number of the file's own is believed.
    Raises VideoRejected if the file is anything else, or kills or stalls its decoder; DecoderUnavailable if there is
    no decoder, which says nothing about the file.
    """
    reply = await decoders.run(VerifyVideo(str(path), expected))
    match reply:
        case VerifiedVideo():
            return reply
        case Refused(code, detail):
            raise VideoRejected(code, detail)
        case _:
            raise VideoRejected("decoder_crashed", "the decoder answered another question")


async def extract_frame(decoders: DecoderPool, path: Path, which: Literal["first", "last"]) -> bytes:
    """The first frame as a JPEG (a poster), or the last as a PNG (lossless, to start a next clip from).

    Raises VideoRejected and DecoderUnavailable, as `verify_video`.
    """
    reply = await decoders.run(ExtractFrame(str(path), which))
    match reply:
        case EncodedFrame(body):
            return body
        case Refused(code, detail):
            raise VideoRejected(code, detail)
        case _:
            raise VideoRejected("decoder_crashed", "the decoder answered another question")
