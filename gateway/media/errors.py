"""Every error the files plane raises.

MediaError
  StoreError
    StoreUnavailable    the object store did not answer in time, or refused
    ObjectMissing       no object under that key
    StoreCorrupt        the stored bytes are not the bytes that were sent
  Rejected
    VideoRejected       the file is not the video that was promised
    ImageRejected       the input is not an image we take
  LinkRefused           a signed link is malformed, forged or out of date
  DecoderUnavailable    no decoder process could be started: our fault, never the file's
"""


class MediaError(Exception):
    """`code` is stable and safe to publish; `detail` is one sentence that says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class StoreError(MediaError):
    pass


class StoreUnavailable(StoreError):
    def __init__(self, detail: str) -> None:
        super().__init__("store_unavailable", detail)


class ObjectMissing(StoreError):
    def __init__(self, key: str) -> None:
        super().__init__("object_missing", f"there is no object under {key}")


class StoreCorrupt(StoreError):
    def __init__(self, detail: str) -> None:
        super().__init__("store_corrupt", detail)


class Rejected(MediaError):
    pass


class VideoRejected(Rejected):
    """Codes: not_mp4, not_h264, missing_moov, truncated, too_large, undecodable, zero_frames, wrong_size, wrong_fps,
    wrong_frames, duration_mismatch, missing_audio, decoder_crashed, decoder_timeout.
    """


class ImageRejected(Rejected):
    """Codes: not_a_data_url, bad_base64, unsupported_format, too_many_bytes, too_many_pixels, edge_too_long,
    animated, truncated, trailing_data, undecodable, decoder_crashed, decoder_timeout.
    """


class LinkRefused(MediaError):
    """Codes: link_malformed, link_forged, link_expired."""


class DecoderUnavailable(MediaError):
    def __init__(self, detail: str) -> None:
        super().__init__("decoder_unavailable", detail)
