"""The contract's two pure halves: a request becomes tensors, responses are judged in order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.fleet import contract
from gateway.fleet.errors import ContractBroken, RequestRefused
from gateway.fleet.model import Chunk, GenerateRequest, Progress, ReferenceMedia, StoredObject

RequestFor = Callable[..., GenerateRequest]
MIB = 1024 * 1024
KEY = b"uploads/job_1/1.mp4"


def test_a_request_becomes_one_array_per_input_of_the_declared_type_and_shape(request_for: RequestFor) -> None:
    media = (ReferenceMedia("first_frame", b"\x89PNG\x00"), ReferenceMedia("reference", b"\xff\xd8"))
    arrays = contract.encode(request_for(prompt="灯台 \x00", seed=-(2**63), media=media))
    assert set(arrays) == {spec.name for spec in contract.INPUTS}
    for spec in contract.INPUTS:
        assert arrays[spec.name].dtype == contract.NUMPY[spec.datatype]
        assert arrays[spec.name].shape == ((2,) if spec.shape == (-1,) else spec.shape)
    assert arrays["prompt"][0] == "灯台 \x00".encode()
    assert arrays["seed"][0] == -(2**63)
    assert list(arrays["media"]) == [b"\x89PNG\x00", b"\xff\xd8"]
    assert list(arrays["media_role"]) == [b"first_frame", b"reference"]


def test_no_media_is_an_empty_tensor(request_for: RequestFor) -> None:
    assert contract.encode(request_for())["media"].shape == (0,)


@pytest.mark.parametrize(
    "changes", [{"seed": 2**63}, {"width": 2**31}, {"frames": -(2**31) - 1}, {"prompt": "\ud800"}, {"job_id": "\udfff"}]
)
def test_what_no_tensor_can_carry_is_refused_and_never_retried(request_for: RequestFor, changes: dict[str, object]) -> None:
    with pytest.raises(RequestRefused) as refused:
        contract.encode(request_for(**changes))
    assert not refused.value.retryable


class Raw:
    def __init__(self, **arrays: NDArray[Any] | None) -> None:
        defaults: dict[str, NDArray[Any] | None] = {
            "kind": np.array([b"chunk"], np.object_),
            "frames_done": np.array([3], np.int32),
            "frames_total": np.array([12], np.int32),
            "data": np.array([b"mp4"], np.object_),
        }
        self._arrays = defaults | arrays

    def as_numpy(self, name: str) -> NDArray[Any] | None:
        return self._arrays[name]


def test_a_response_is_decoded() -> None:
    assert contract.decode(Raw(), final=True) == contract.Response("chunk", 3, 12, b"mp4", True)


@pytest.mark.parametrize(
    "arrays",
    [
        {"data": None},
        {"frames_done": np.array([3], np.int64)},
        {"frames_total": np.array([], np.int32)},
        {"kind": np.array([[b"chunk"]], np.object_)},
    ],
)
def test_a_missing_or_misshapen_output_breaks_the_contract(arrays: dict[str, NDArray[Any] | None]) -> None:
    with pytest.raises(ContractBroken) as broken:
        contract.decode(Raw(**arrays), final=False)
    assert broken.value.rule == "outputs"


def says(kind: str, done: int, data: bytes = b"", *, total: int = 12, final: bool = False) -> contract.Response:
    return contract.Response(kind, done, total, data, final)


def test_progress_then_chunks_is_a_video(request_for: RequestFor) -> None:
    transcript = contract.Transcript(request_for())
    assert transcript.accept(says("progress", 0)) == Progress(0, 12)
    assert transcript.accept(says("progress", 6)) == Progress(6, 12)
    assert transcript.accept(says("chunk", 12, b"a" * MIB)) == Chunk(b"a" * MIB)
    assert not transcript.ended
    assert transcript.accept(says("chunk", 12, b"b", final=True)) == Chunk(b"b")
    assert transcript.ended


def test_an_object_is_a_video(request_for: RequestFor) -> None:
    transcript = contract.Transcript(request_for())
    assert transcript.accept(says("object", 12, KEY, final=True)) == StoredObject(KEY.decode())
    assert transcript.ended


def test_a_model_that_picks_the_length_may_stay_below_but_not_above(request_for: RequestFor) -> None:
    request = request_for(auto_length=True)
    assert contract.Transcript(request).accept(says("progress", 0, total=5)) == Progress(0, 5)
    with pytest.raises(ContractBroken, match="at most 12"):
        contract.Transcript(request).accept(says("progress", 0, total=13))


@pytest.mark.parametrize(
    "rule,responses",
    [
        ("kind", [says("preview", 0)]),
        ("order", [says("chunk", 6, b"x"), says("progress", 6)]),
        ("order", [says("chunk", 6, b"x"), says("object", 12, KEY)]),
        ("order", [says("object", 12, KEY), says("object", 12, KEY)]),
        ("order", [says("object", 12, KEY), says("chunk", 12, b"x")]),
        ("order", [says("progress", 0, b"x")]),
        ("chunk_size", [says("chunk", 6)]),
        ("chunk_size", [says("chunk", 6, b"x" * (MIB + 1))]),
        ("object_key", [says("object", 12)]),
        ("object_key", [says("object", 12, b"\xff")]),
        ("object_key", [says("object", 12, b"uploads/job_2/1.mp4")]),
        ("object_key", [says("object", 12, b"uploads/job_1/2.mp4")]),
        ("frame_count", [says("progress", 0, total=11)]),
        ("frame_count", [says("progress", 0, total=0)]),
        ("frame_count", [says("progress", 13)]),
        ("frame_count", [says("progress", -1)]),
        ("frame_count", [says("progress", 6), says("progress", 5)]),
        ("final", [says("progress", 12, final=True)]),
        ("final", [says("chunk", 11, b"x", final=True)]),
        ("final", [says("chunk", 12, b"x", final=True), says("chunk", 12, b"x")]),
    ],
)
def test_a_broken_rule_is_named(request_for: RequestFor, rule: str, responses: list[contract.Response]) -> None:
    transcript = contract.Transcript(request_for())
    for response in responses[:-1]:
        transcript.accept(response)
    with pytest.raises(ContractBroken) as broken:
        transcript.accept(responses[-1])
    assert broken.value.rule == rule
    assert broken.value.retryable
