"""The video contract of deploy/triton/README.md as the gateway sees it: tensors out, messages in, and the order of messages.

Pure: nothing here talks to a server.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.fleet.errors import ContractBroken, RequestRefused
from gateway.fleet.model import Chunk, Event, GenerateRequest, Progress, StoredObject

CHUNK_BYTES_MAX = 1024 * 1024
SILENCE_S_MAX = 10.0
REFUSAL_PREFIX = "INVALID_REQUEST:"
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


class TensorSpec(Struct, frozen=True):
    """Name, KServe datatype and shape of one tensor; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (1,)


INPUTS = (
    TensorSpec("prompt", "BYTES"),
    TensorSpec("negative_prompt", "BYTES"),
    TensorSpec("seed", "INT64"),
    TensorSpec("width", "INT32"),
    TensorSpec("height", "INT32"),
    TensorSpec("fps", "INT32"),
    TensorSpec("frames", "INT32"),
    TensorSpec("steps", "INT32"),
    TensorSpec("guidance", "FP32"),
    TensorSpec("audio", "BOOL"),
    TensorSpec("auto_length", "BOOL"),
    TensorSpec("media", "BYTES", (-1,)),
    TensorSpec("media_role", "BYTES", (-1,)),
    TensorSpec("request_id", "BYTES"),
    TensorSpec("attempt", "INT32"),
)
OUTPUTS = (
    TensorSpec("kind", "BYTES"),
    TensorSpec("frames_done", "INT32"),
    TensorSpec("frames_total", "INT32"),
    TensorSpec("data", "BYTES"),
)

NUMPY: dict[str, type[np.generic]] = {
    "BYTES": np.object_,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "BOOL": np.bool_,
}


def encode(request: GenerateRequest) -> dict[str, NDArray[Any]]:
    """One array per input tensor. Raises `RequestRefused` for text or numbers that no tensor can carry."""
    try:
        values: dict[str, Sequence[object]] = {
            "prompt": [request.prompt.encode()],
            "negative_prompt": [request.negative_prompt.encode()],
            "seed": [_integer("seed", request.seed, INT64_MAX)],
            "width": [_integer("width", request.width, INT32_MAX)],
            "height": [_integer("height", request.height, INT32_MAX)],
            "fps": [_integer("fps", request.fps, INT32_MAX)],
            "frames": [_integer("frames", request.frames, INT32_MAX)],
            "steps": [_integer("steps", request.steps, INT32_MAX)],
            "guidance": [request.guidance],
            "audio": [request.audio],
            "auto_length": [request.auto_length],
            "media": [media.data for media in request.media],
            "media_role": [media.role.encode() for media in request.media],
            "request_id": [request.job_id.encode()],
            "attempt": [_integer("attempt", request.attempt, INT32_MAX)],
        }
    except UnicodeEncodeError as error:
        raise RequestRefused("the text holds an unpaired surrogate and cannot be sent as UTF-8; correct the text") from error
    return {spec.name: np.array(values[spec.name], dtype=NUMPY[spec.datatype]) for spec in INPUTS}


def _integer(name: str, value: int, largest: int) -> int:
    if not -largest - 1 <= value <= largest:
        raise RequestRefused(f"{name} must lie between {-largest - 1} and {largest}")
    return value


class Response(Struct, frozen=True):
    """One response of the model, decoded but not yet judged."""

    kind: str
    frames_done: int
    frames_total: int
    data: bytes
    final: bool


class RawResponse(Protocol):
    """What `decode` needs of tritonclient's InferResult."""

    def as_numpy(self, name: str) -> NDArray[Any] | None: ...


def decode(raw: RawResponse, *, final: bool) -> Response:
    """Raises `ContractBroken` (rule `outputs`) when a tensor is missing or has another type or shape."""
    values: dict[str, Any] = {}
    for spec in OUTPUTS:
        try:
            array = raw.as_numpy(spec.name)
        except (ValueError, TypeError) as error:
            raise ContractBroken("outputs", f"the output {spec.name} could not be read: {error}") from error
        if array is None:
            raise ContractBroken("outputs", f"the output {spec.name} is missing")
        if array.dtype != NUMPY[spec.datatype] or array.shape != spec.shape:
            raise ContractBroken(
                "outputs", f"the output {spec.name} is {array.dtype} {list(array.shape)}, not {spec.datatype} {list(spec.shape)}"
            )
        values[spec.name] = array[0]
    return Response(
        kind=bytes(values["kind"]).decode("utf-8", errors="replace"),
        frames_done=int(values["frames_done"]),
        frames_total=int(values["frames_total"]),
        data=bytes(values["data"]),
        final=final,
    )


def model_error(message: str) -> RequestRefused | None:
    """The refusal in an error message of the model, or None when the error is the model's own fault."""
    if not message.startswith(REFUSAL_PREFIX):
        return None
    return RequestRefused(message.removeprefix(REFUSAL_PREFIX).strip() or "the model refuses this request and gives no reason")


class Transcript:
    """Judges the responses to one request in the order they arrive: `progress* (chunk+ | object)`, the last one FINAL."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._frames_done = 0
        self._delivered: str | None = None
        self.ended = False

    def accept(self, response: Response) -> Event:
        """The event this response stands for. Raises `ContractBroken` naming the rule it breaks."""
        if self.ended:
            raise ContractBroken("final", "a response arrived after the one marked FINAL")
        self._count_frames(response)
        event = self._event(response)
        if response.final:
            self._end(response)
        return event

    def _event(self, response: Response) -> Event:
        match response.kind:
            case "progress":
                if self._delivered is not None:
                    raise ContractBroken("order", f"progress arrived after {self._delivered}")
                if response.data:
                    raise ContractBroken("order", "a progress response carries data; it must be empty")
                return Progress(response.frames_done, response.frames_total)
            case "chunk":
                if self._delivered == "object":
                    raise ContractBroken("order", "a chunk arrived after an object; a video is delivered one way or the other")
                if not 0 < len(response.data) <= CHUNK_BYTES_MAX:
                    raise ContractBroken(
                        "chunk_size", f"a chunk has {len(response.data)} bytes; 1 to {CHUNK_BYTES_MAX} are allowed"
                    )
                self._delivered = "chunk"
                return Chunk(response.data)
            case "object":
                if self._delivered is not None:
                    raise ContractBroken("order", f"an object arrived after {self._delivered}; it must be the only delivery")
                self._delivered = "object"
                return StoredObject(self._key(response.data))
            case unknown:
                raise ContractBroken("kind", f"kind is {unknown[:40]!r}; only progress, chunk and object are known")

    def _count_frames(self, response: Response) -> None:
        done, total, asked = response.frames_done, response.frames_total, self._request.frames
        if not 0 < total <= asked or (total != asked and not self._request.auto_length):
            limit = "at most" if self._request.auto_length else "exactly"
            raise ContractBroken("frame_count", f"frames_total is {total}; {limit} {asked} were asked for")
        if not self._frames_done <= done <= total:
            raise ContractBroken("frame_count", f"frames_done went from {self._frames_done} to {done} of {total}")
        self._frames_done = done

    def _end(self, response: Response) -> None:
        if self._delivered is None:
            raise ContractBroken("final", "the FINAL response delivers no video")
        if response.frames_done != response.frames_total:
            raise ContractBroken("final", f"the FINAL response says {response.frames_done} of {response.frames_total} frames")
        self.ended = True

    def _key(self, data: bytes) -> str:
        """A model may hand over the file of this very attempt and nothing else that lies in the store."""
        key = upload_key(self._request.job_id, self._request.attempt)
        if data != key.encode():
            raise ContractBroken("object_key", f"the object key is {data[:200]!r}; the file of this attempt belongs under {key}")
        return key


def upload_key(job_id: str, attempt: int) -> str:
    """Where in the object store a model puts the file of this attempt, if it does not send it in chunks."""
    return f"uploads/{job_id}/{attempt}.mp4"
