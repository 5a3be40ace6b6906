"""One Triton server: what it has ready, loading and unloading, and generating a video over a decoupled gRPC stream.

tritonclient's stream reports trouble in four ways, and `generate` folds them into one tree (`errors.py`): an error yielded by the
model, a grpc error raised by the stream, a CancelledError that nobody asked for, and silence.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Protocol, cast

import grpc
import grpc.aio
import msgspec
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from gateway.fleet import contract
from gateway.fleet.errors import (
    AttemptFailed,
    BackendFailed,
    BackendStalled,
    BackendUnreachable,
    ContractBroken,
    DeadlineExceeded,
    RequestRefused,
    SwapFailed,
)
from gateway.fleet.model import Event, GenerateRequest
from gateway.fleet.tally import Tally

PROBE_TIMEOUT_S = 2.0
DRAIN_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 0.1
SEND_BYTES_MAX = 2**31 - 1
RECEIVE_BYTES_MAX = 4 * contract.CHUNK_BYTES_MAX

CHANNEL_OPTIONS = [
    # Naming any option drops tritonclient's own limits, so both are set. A response may hold 1 MiB: a larger limit would only let
    # a broken model stall the event loop (256 MB take 2.3 s to parse).
    ("grpc.max_send_message_length", SEND_BYTES_MAX),
    ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
    # A dead peer is noticed within 40 s. The server must allow it: --grpc-http2-min-recv-ping-interval-without-data=10000.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that comes back is found again within 2 s instead of gRPC's 120 s.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two TritonServer objects with one URL must not share a connection, or a broken one would fail both.
    ("grpc.use_local_subchannel_pool", 1),
]


class _Parameter(Protocol):
    bool_param: bool


class _Response(Protocol):
    """The protobuf message under an InferResult; a parameter that is not there reads as false."""

    @property
    def parameters(self) -> Mapping[str, _Parameter]: ...


class _Message(Protocol):
    """tritonclient's InferResult."""

    def as_numpy(self, name: str) -> NDArray[Any] | None: ...
    def get_response(self) -> _Response: ...


class _Stream(Protocol):
    """tritonclient's response iterator; each item is a result or the error of the model."""

    def __aiter__(self) -> "_Stream": ...
    async def __anext__(self) -> tuple[_Message | None, InferenceServerException | None]: ...
    def cancel(self) -> bool: ...


class _Indexed(msgspec.Struct, frozen=True):
    """A line of Triton's repository index; a model that was never loaded has no state."""

    name: str
    state: str = ""
    reason: str = ""


class _Count(msgspec.Struct, frozen=True):
    count: int = 0


class _Counts(msgspec.Struct, frozen=True):
    success: _Count = _Count()
    fail: _Count = _Count()


class _Statistics(msgspec.Struct, frozen=True):
    name: str
    inference_stats: _Counts = _Counts()


class Look(msgspec.Struct, frozen=True):
    """What a server said: the models it has ready, or why it said nothing."""

    ready: frozenset[str] = frozenset()
    trouble: str = ""


class TritonServer:
    """A connection to one server; make it on the event loop that will use it, and close it there."""

    def __init__(self, url: str) -> None:
        """`url` is host:port of the server's gRPC endpoint. Nothing is sent before the first call."""
        self.url = url
        self._closed = False
        self._tallies: dict[str, Tally] = {}
        self._client: Any = triton_aio.InferenceServerClient(url, channel_args=CHANNEL_OPTIONS)

    async def close(self) -> None:
        """Ends running attempts with `BackendUnreachable`."""
        self._closed = True
        await self._client.close()

    async def ready(self, model: str) -> bool:
        """Whether the model would take a request now. Never raises: a server that cannot be asked is not ready."""
        before = _cancellations()
        try:
            return bool(await self._client.is_model_ready(model, client_timeout=PROBE_TIMEOUT_S))
        except (InferenceServerException, grpc.RpcError, grpc.aio.UsageError):
            return False
        except asyncio.CancelledError:
            if _cancellations() > before:
                raise
            return False

    async def look(self) -> Look:
        """What it has ready now. Never raises: a server that cannot be asked says why."""
        before = _cancellations()
        try:
            ready = [one.name for one in await self._index() if one.state == "READY"]
            await self._count()
        except (InferenceServerException, grpc.RpcError, grpc.aio.UsageError) as error:
            said = " ".join(str(error).split())[:200]
            return Look(trouble=f"{self.url} does not answer: {said}")
        except asyncio.CancelledError:
            if _cancellations() > before:
                raise
            return Look(trouble=f"{self.url} does not answer")
        return Look(frozenset(ready))

    async def load(self, model: str, *, timeout_s: float) -> None:
        """Returns once the model is ready. Raises SwapFailed."""
        try:
            await self._client.load_model(model, client_timeout=timeout_s)
        except (InferenceServerException, grpc.RpcError) as error:
            raise SwapFailed(f"{model} could not be loaded: {error}") from error

    async def unload(self, model: str, *, timeout_s: float) -> None:
        """Returns once the model is gone. Raises SwapFailed.

        Triton answers at once and goes on unloading for seconds; what is loaded meanwhile finds the memory taken
        (triton-inference-server/server#4844).
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.unload_model(model, client_timeout=timeout_s)
                while await self._holds(model):  # noqa: ASYNC110 - Triton sends no event
                    await asyncio.sleep(LOOK_AGAIN_S)
        except (InferenceServerException, grpc.RpcError, TimeoutError) as error:
            raise SwapFailed(f"{model} could not be unloaded: {error or f'still there after {timeout_s:g} s'}") from error

    async def stopped(self, model: str, *, within_s: float) -> bool:
        """Whether everything that was left has ended on the server. False after `within_s`."""
        tally = self._tally(model)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not tally.quiet:
                    await asyncio.sleep(LOOK_AGAIN_S)
                    with contextlib.suppress(InferenceServerException, grpc.RpcError, grpc.aio.UsageError):
                        await self._count()
        return tally.quiet

    async def _holds(self, model: str) -> bool:
        return any(one.name == model and one.state in ("READY", "UNLOADING") for one in await self._index())

    async def _index(self) -> list[_Indexed]:
        answer = await self._client.get_model_repository_index(as_json=True, client_timeout=PROBE_TIMEOUT_S)
        return msgspec.convert(answer.get("models", []), list[_Indexed])

    async def _count(self) -> None:
        answer = await self._client.get_inference_statistics(as_json=True, client_timeout=PROBE_TIMEOUT_S)
        for model, ended in ended_of(answer).items():
            self._tally(model).counted(ended)

    def _tally(self, model: str) -> Tally:
        return self._tallies.setdefault(model, Tally())

    async def generate(
        self, model: str, request: GenerateRequest, *, stall_s: float, deadline_s: float
    ) -> AsyncGenerator[Event, None]:
        """Run one attempt and yield what the model says, ending after the video is complete.

        Closing the iterator (`contextlib.aclosing`) or cancelling the task cancels the model's work too. Raises the errors of
        `errors.py`: `BackendStalled` when `stall_s` pass without a message, `DeadlineExceeded` `deadline_s` after the start.
        """
        due = asyncio.get_running_loop().time() + deadline_s
        transcript = contract.Transcript(request)
        stream = self._open(model, request)
        tally, heard, left = self._tally(model), False, True
        try:
            while not transcript.ended:
                raw = await self._next(stream, stall_s, due)
                if not heard:
                    tally.began()
                    heard = True
                yield transcript.accept(contract.decode(raw, final=_is_final(raw)))
            await _drain(stream)
            left = False
        except (BackendFailed, RequestRefused):  # so the model ended it
            left = False
            raise
        except BackendUnreachable:
            if heard:
                tally.lost()
            heard = False
            raise
        finally:
            # Leaving a loop over the stream, or dropping it, does not stop the server.
            stream.cancel()
            if heard:
                (tally.left if left else tally.finished)()

    def _open(self, model: str, request: GenerateRequest) -> _Stream:
        message = {
            "model_name": model,
            "inputs": _tensors(contract.encode(request)),
            "outputs": [triton_grpc.InferRequestedOutput(spec.name) for spec in contract.OUTPUTS],
            "request_id": request.job_id,
        }

        async def once() -> AsyncIterator[dict[str, Any]]:
            yield message  # and return: the server ends the stream only after this side did

        return cast(_Stream, self._client.stream_infer(once()))

    async def _next(self, stream: _Stream, stall_s: float, due: float) -> _Message:
        loop = asyncio.get_running_loop()
        wait_until = min(loop.time() + stall_s, due)
        before = _cancellations()
        try:
            async with asyncio.timeout_at(wait_until):
                result, error = await anext(stream)
        except TimeoutError as expired:
            if wait_until == due:
                raise DeadlineExceeded("the attempt reached its deadline before the video was complete") from expired
            raise BackendStalled(f"{self.url} sent nothing for {stall_s:g} s") from expired
        except StopAsyncIteration as end:
            raise ContractBroken("final", "the stream ended without a response marked FINAL") from end
        except grpc.RpcError as broken:
            raise self._broken(broken) from broken
        except asyncio.CancelledError as cancelled:
            if _cancellations() > before:
                raise
            # Nobody cancelled this task: the channel was closed, or tritonclient could not send the request.
            if self._closed:
                raise BackendUnreachable(f"the connection to {self.url} was closed") from cancelled
            raise BackendFailed("the request could not be sent") from cancelled
        if result is None:
            message = "an empty message" if error is None else str(error.message())
            raise contract.model_error(message) or BackendFailed(message)
        return result

    def _broken(self, error: grpc.RpcError) -> AttemptFailed:
        if not isinstance(error, grpc.aio.AioRpcError):
            return BackendUnreachable(f"{self.url}: {error}")
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ContractBroken("chunk_size", f"a response is larger than {RECEIVE_BYTES_MAX} bytes: {error.details()}")
        return BackendUnreachable(f"{self.url}: {error.code().name}: {error.details()}")


def ended_of(statistics: Any) -> dict[str, int]:  # noqa: ANN401 – tritonclient's own JSON
    """How many requests have ended since the server started, however they ended, by model; all versions together."""
    ended: dict[str, int] = {}
    for one in msgspec.convert(statistics.get("model_stats", []), list[_Statistics], strict=False):
        ended[one.name] = ended.get(one.name, 0) + one.inference_stats.success.count + one.inference_stats.fail.count
    return ended


def _tensors(arrays: dict[str, NDArray[Any]]) -> list[Any]:
    tensors: list[Any] = []
    for spec in contract.INPUTS:
        array = arrays[spec.name]
        tensor: Any = triton_grpc.InferInput(spec.name, list(array.shape), spec.datatype)
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _is_final(raw: _Message) -> bool:
    return raw.get_response().parameters["triton_final_response"].bool_param


async def _drain(stream: _Stream) -> None:
    """Let the server end the stream: the video is complete, so neither silence nor a broken connection matters now.

    Cancelling a request at the moment it completes has crashed servers (triton-inference-server/server#8034).
    """
    with contextlib.suppress(TimeoutError, StopAsyncIteration, grpc.RpcError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await anext(stream)


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
