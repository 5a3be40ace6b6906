"""Test any Triton server against the video contract of deploy/triton/README.md and say in plain sentences what breaks it.

Run it on an idle server: whether a cancelled request stopped is read from the server's request counters.
"""

import asyncio
import io
import time
from contextlib import aclosing
from typing import Any, Protocol, cast

import av
import av.error
import msgspec
import tritonclient.grpc.aio as triton_aio
from msgspec import Struct
from msgspec.structs import replace
from tritonclient.utils import InferenceServerException

from gateway.fleet import contract
from gateway.fleet.errors import AttemptFailed, ContractBroken, RequestRefused
from gateway.fleet.model import SAMPLE, Chunk, GenerateRequest, Progress, StoredObject
from gateway.fleet.server import PROBE_TIMEOUT_S, TritonServer, ended_of

FILM_BYTES_MAX = 512 * 1024 * 1024
DATATYPES = {"BYTES": "TYPE_STRING", "INT32": "TYPE_INT32", "INT64": "TYPE_INT64", "FP32": "TYPE_FP32", "BOOL": "TYPE_BOOL"}


class Finding(Struct, frozen=True):
    """One clause of the contract: kept or broken, and a sentence that says how."""

    ok: bool
    rule: str
    detail: str


class Limits(Struct, frozen=True):
    """How long the check waits: for the next message, for a whole video, and for a cancelled request to stop."""

    stall_s: float = 30.0
    deadline_s: float = 900.0
    cancel_s: float = 5.0


class _Client(Protocol):
    """The unary calls of tritonclient that the check makes; each raises InferenceServerException."""

    async def is_server_live(self, *, client_timeout: float) -> bool: ...
    async def get_model_config(self, model_name: str, *, as_json: bool, client_timeout: float) -> dict[str, Any]: ...
    async def get_inference_statistics(self, model_name: str, *, as_json: bool, client_timeout: float) -> dict[str, Any]: ...
    async def close(self) -> None: ...


async def check(url: str, model: str, *, sample: GenerateRequest = SAMPLE, limits: Limits | None = None) -> list[Finding]:
    """The findings in the order of the contract; all `ok` means the gateway can send this model work.

    `url` is host:port of the server's gRPC endpoint. `sample` must be a request the model can serve; it is generated up to three
    times and decoded in this process. Never raises for what the server does.
    """
    limits = limits or Limits()
    server = TritonServer(url)
    client = cast(_Client, triton_aio.InferenceServerClient(url))
    try:
        findings = await _declared(client, server, model)
        if not all(finding.ok for finding in findings):
            return findings
        idle = await _finished(client, model)
        generated = await _generated(server, model, sample, limits)
        findings += [*generated, await _refusal(server, model, sample, limits)]
        if all(finding.rule != "generate" for finding in generated):
            findings.append(await _cancellation(client, server, model, sample, limits, before=idle + 2))
        return findings
    finally:
        await client.close()
        await server.close()


class _DeclaredTensor(Struct, frozen=True):
    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.data_type} {list(self.dims)}"


class _TransactionPolicy(Struct, frozen=True):
    decoupled: bool = False


class _ModelConfig(Struct, frozen=True):
    """The part of Triton's ModelConfig that the contract speaks about; protobuf leaves out what has its default."""

    input: tuple[_DeclaredTensor, ...] = ()
    output: tuple[_DeclaredTensor, ...] = ()
    max_batch_size: int = 0
    model_transaction_policy: _TransactionPolicy = _TransactionPolicy()


async def _declared(client: _Client, server: TritonServer, model: str) -> list[Finding]:
    """What the server says about the model before any request."""
    try:
        await client.is_server_live(client_timeout=PROBE_TIMEOUT_S)
    except InferenceServerException as error:
        return [Finding(False, "server", f"No Triton server answers at {server.url}: {error.message()}.")]
    try:
        answer = await client.get_model_config(model, as_json=True, client_timeout=PROBE_TIMEOUT_S)
    except InferenceServerException as error:
        return [Finding(False, "model", f"The server at {server.url} does not serve {model}: {error.message()}.")]
    config = msgspec.convert(answer["config"], _ModelConfig, strict=False)
    if not await server.ready(model):
        return [Finding(False, "model", f"The model {model} is loaded but not ready.")]
    return [
        Finding(True, "server", f"A Triton server answers at {server.url}."),
        Finding(True, "model", f"The model {model} is ready."),
        _decoupled(config),
        _batching(config),
        *(_tensor(spec, "input", config.input) for spec in contract.INPUTS),
        *(_tensor(spec, "output", config.output) for spec in contract.OUTPUTS),
        *_surplus(config),
    ]


def _decoupled(config: _ModelConfig) -> Finding:
    if config.model_transaction_policy.decoupled:
        return Finding(True, "decoupled", "The model is decoupled: it can answer one request with many responses.")
    return Finding(
        False, "decoupled", "The model is not decoupled; add model_transaction_policy { decoupled: true } to config.pbtxt."
    )


def _batching(config: _ModelConfig) -> Finding:
    size = config.max_batch_size
    return Finding(size == 0, "batching", f"max_batch_size is {size}; the contract's tensors have no batch dimension (0).")


def _tensor(spec: contract.TensorSpec, side: str, declared: tuple[_DeclaredTensor, ...]) -> Finding:
    rule, wanted = f"{side}:{spec.name}", f"{DATATYPES[spec.datatype]} {list(spec.shape)}"
    for tensor in declared:
        if tensor.name == spec.name:
            if str(tensor) == wanted:
                return Finding(True, rule, f"The {side} {spec.name} is {tensor}.")
            return Finding(False, rule, f"The {side} {spec.name} is {tensor}; it must be {wanted}.")
    return Finding(False, rule, f"The {side} {spec.name} is missing; declare it as {wanted}.")


def _surplus(config: _ModelConfig) -> list[Finding]:
    known = {spec.name for spec in contract.INPUTS}
    return [
        Finding(False, f"input:{tensor.name}", f"The input {tensor.name} is not in the contract, and nobody will send it.")
        for tensor in config.input
        if tensor.name not in known and not tensor.optional
    ]


class _Take(Struct):
    """What one generation delivered."""

    film: bytearray
    messages: int = 0
    progress: int = 0
    silence_s: float = 0.0
    key: str = ""


async def _generated(server: TritonServer, model: str, sample: GenerateRequest, limits: Limits) -> list[Finding]:
    """One video, from the first message to the decoded file."""
    take = _Take(bytearray())
    try:
        await _watch(server, model, sample, limits, take)
    except ContractBroken as broken:
        return [Finding(False, broken.rule, f"After {take.messages} messages: {broken.message}.")]
    except AttemptFailed as failed:
        return [
            Finding(
                False, "generate", f"A valid request failed after {take.messages} messages ({failed.code}): {failed.message}."
            )
        ]
    return [
        Finding(True, "order", f"The video arrived complete in {take.messages} messages, the last one marked FINAL."),
        Finding(
            take.progress > 0, "progress", f"{take.progress} progress messages came before the video; at least one is needed."
        ),
        Finding(
            take.silence_s <= contract.SILENCE_S_MAX,
            "heartbeat",
            f"The longest silence was {take.silence_s:.1f} s; a message is due every {contract.SILENCE_S_MAX:.0f} s.",
        ),
        await asyncio.to_thread(_film, bytes(take.film), sample)
        if not take.key
        else Finding(True, "video", f"The video was stored as {take.key!r}; it was not opened."),
    ]


async def _watch(server: TritonServer, model: str, sample: GenerateRequest, limits: Limits, take: _Take) -> None:
    heard = time.monotonic()
    async with aclosing(server.generate(model, sample, stall_s=limits.stall_s, deadline_s=limits.deadline_s)) as events:
        async for event in events:
            now = time.monotonic()
            take.silence_s, heard = max(take.silence_s, now - heard), now
            take.messages += 1
            match event:
                case Progress():
                    take.progress += 1
                case Chunk(data):
                    take.film += data
                    if len(take.film) > FILM_BYTES_MAX:
                        raise ContractBroken("video", f"the video is larger than {FILM_BYTES_MAX} bytes")
                case StoredObject(key):
                    take.key = key


def _film(film: bytes, sample: GenerateRequest) -> Finding:
    """Decode every frame: the file must hold what was asked for, no frame more or less."""
    frames, size, rate = 0, "", None
    try:
        with av.open(io.BytesIO(film), "r", format="mp4") as container:
            if not container.streams.video:
                return Finding(False, "video", "The file has no video track.")
            rate = container.streams.video[0].average_rate
            for frame in container.decode(video=0):
                frames += 1
                size = f"{frame.width}x{frame.height}"
    except (av.error.FFmpegError, ValueError) as error:
        return Finding(False, "video", f"The file is not a playable MP4: after {frames} frames, {error}.")
    found = f"The file holds {frames} frames of {size or 'no size'} at {rate} fps"
    asked = f"{sample.frames} of {sample.width}x{sample.height} at {sample.fps} fps"
    short = frames == 0 or (frames > sample.frames if sample.auto_length else frames != sample.frames)
    if short or size != f"{sample.width}x{sample.height}" or rate != sample.fps:
        return Finding(False, "video", f"{found}; asked for were {asked}.")
    return Finding(True, "video", f"{found}, as asked.")


async def _refusal(server: TritonServer, model: str, sample: GenerateRequest, limits: Limits) -> Finding:
    """A video of no width can never be made: the model must say so, so that the gateway does not try it everywhere."""
    impossible = replace(sample, width=0, height=0, job_id=f"{sample.job_id}-impossible")
    advice = f"it must answer with an error that starts with {contract.REFUSAL_PREFIX}"
    try:
        await _watch(server, model, impossible, limits, _Take(bytearray()))
    except RequestRefused as refused:
        return Finding(True, "refusal", f"An impossible request was refused: {refused.message}.")
    except AttemptFailed as failed:
        return Finding(False, "refusal", f"A request for 0x0 pixels ended with {failed.code} ({failed.message}); {advice}.")
    return Finding(False, "refusal", f"A request for 0x0 pixels was served; {advice}.")


async def _cancellation(
    client: _Client, server: TritonServer, model: str, sample: GenerateRequest, limits: Limits, *, before: int
) -> Finding:
    """Leave after the first message and wait until the server counts the request as finished.

    `before` is the count with the two requests that came first. A server counts a request some time after its last message, so
    one that it has not counted yet would be taken for the cancelled one.
    """
    if not await _reaches(client, model, before, within_s=limits.cancel_s):
        return Finding(False, "cancel", f"A request still ran {limits.cancel_s:g} s after it was over for the gateway.")
    try:
        request = replace(sample, job_id=f"{sample.job_id}-cancel")
        async with aclosing(server.generate(model, request, stall_s=limits.stall_s, deadline_s=limits.deadline_s)) as events:
            await anext(events)
    except AttemptFailed as failed:
        return Finding(False, "cancel", f"The request to be cancelled failed first ({failed.code}): {failed.message}.")
    left = time.monotonic()
    if await _reaches(client, model, before + 1, within_s=limits.cancel_s):
        return Finding(True, "cancel", f"A cancelled request had stopped after {time.monotonic() - left:.1f} s.")
    return Finding(
        False, "cancel", f"A cancelled request still ran after {limits.cancel_s:g} s; poll is_cancelled() at every step."
    )


async def _reaches(client: _Client, model: str, count: int, *, within_s: float) -> bool:
    """Whether `count` requests of this model are over within `within_s` seconds."""
    until = time.monotonic() + within_s
    while await _finished(client, model) < count:
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


async def _finished(client: _Client, model: str) -> int:
    """How many requests of this model have ended, however they ended."""
    try:
        return ended_of(await client.get_inference_statistics(model, as_json=True, client_timeout=PROBE_TIMEOUT_S)).get(model, 0)
    except InferenceServerException:
        return -1
