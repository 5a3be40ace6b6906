"""The model's side of the video contract: read a request's tensors, answer with progress, chunks or an error.

Nothing here knows what the video shows, so the file can be copied beside any other model.
"""

import dataclasses
import importlib
from typing import Any, BinaryIO, Protocol

import numpy as np

# Triton puts this module on the path of a model's process; nothing else can see it.
pb_utils: Any = importlib.import_module("triton_python_backend_utils")

CHUNK_BYTES = 512 * 1024
"""Half of what the contract allows: two instances then fit the 64 MiB that a container's /dev/shm has by default."""

ROLES = frozenset({"first_frame", "last_frame", "reference"})


class Refused(Exception):
    """The request can never be served by this model; the message tells the caller what to change."""


class Cancelled(Exception):
    """The caller went away: stop at once."""


class Sender(Protocol):
    """Triton's InferenceResponseSender."""

    def send(self, response: object = ..., flags: int = ...) -> None: ...
    def is_cancelled(self) -> bool: ...


class TritonRequest(Protocol):
    """Triton's InferenceRequest."""

    def get_response_sender(self) -> Sender: ...


@dataclasses.dataclass(frozen=True)
class Media:
    role: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class VideoRequest:
    """One request; sizes in pixels, `frames` exact or, with `auto_length`, the most that may be produced."""

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    fps: int
    frames: int
    auto_length: bool
    steps: int
    guidance: float
    audio: bool
    media: tuple[Media, ...]
    request_id: str
    attempt: int


def read(request: TritonRequest) -> VideoRequest:
    """Decode the input tensors. Raises `Refused` when `media` and `media_role` do not fit together."""

    def values(name: str) -> list[Any]:
        return pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1).tolist()

    def text(name: str) -> str:
        return values(name)[0].decode("utf-8", errors="replace")

    roles: list[str] = [role.decode("utf-8", errors="replace") for role in values("media_role")]
    media: list[bytes] = values("media")
    if len(roles) != len(media):
        raise Refused(f"media has {len(media)} items and media_role has {len(roles)}; send one role per item")
    if unknown := set(roles) - ROLES:
        raise Refused(f"media_role {min(unknown)!r} is unknown; use one of {', '.join(sorted(ROLES))}")
    return VideoRequest(
        prompt=text("prompt"),
        negative_prompt=text("negative_prompt"),
        seed=int(values("seed")[0]),
        width=int(values("width")[0]),
        height=int(values("height")[0]),
        fps=int(values("fps")[0]),
        frames=int(values("frames")[0]),
        auto_length=bool(values("auto_length")[0]),
        steps=int(values("steps")[0]),
        guidance=float(values("guidance")[0]),
        audio=bool(values("audio")[0]),
        media=tuple(Media(role, data) for role, data in zip(roles, media, strict=True)),
        request_id=text("request_id"),
        attempt=int(values("attempt")[0]),
    )


class Answer:
    """The response stream of one request. Exactly one of `file`, `refuse`, `fail` or `cancelled` ends it."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def is_cancelled(self) -> bool:
        return self._sender.is_cancelled()

    def progress(self, frames_done: int, frames_total: int) -> None:
        self.send("progress", frames_done, frames_total, b"", final=False)

    def file(self, stream: BinaryIO, frames_total: int) -> None:
        """Send the rest of `stream` as chunks; the last one carries FINAL. Raises `Cancelled`."""
        chunk = stream.read(CHUNK_BYTES)
        while chunk:
            if self.is_cancelled():
                raise Cancelled
            following = stream.read(CHUNK_BYTES)
            self.send("chunk", frames_total, frames_total, chunk, final=not following)
            chunk = following

    def refuse(self, reason: str) -> None:
        self._end(pb_utils.TritonError(f"INVALID_REQUEST: {reason}", pb_utils.TritonError.INVALID_ARG))

    def fail(self, reason: str) -> None:
        self._end(pb_utils.TritonError(reason, pb_utils.TritonError.INTERNAL))

    def cancelled(self) -> None:
        self._end(pb_utils.TritonError("cancelled by the caller", pb_utils.TritonError.CANCELLED))

    def send(self, kind: str, frames_done: int, frames_total: int, data: bytes, *, final: bool) -> None:
        tensors = [
            pb_utils.Tensor("kind", np.array([kind.encode()], dtype=np.object_)),
            pb_utils.Tensor("frames_done", np.array([frames_done], dtype=np.int32)),
            pb_utils.Tensor("frames_total", np.array([frames_total], dtype=np.int32)),
            pb_utils.Tensor("data", np.array([data], dtype=np.object_)),
        ]
        flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
        self._sender.send(pb_utils.InferenceResponse(output_tensors=tensors), flags=flags)

    def _end(self, error: object) -> None:
        response = pb_utils.InferenceResponse(output_tensors=[], error=error)
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
