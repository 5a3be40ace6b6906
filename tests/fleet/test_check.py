"""The contract check: silent about the reference model, and names the defect of every model that has one."""

from collections.abc import Callable
from typing import Protocol

import pytest

from gateway.fleet.check import SAMPLE, Limits, check
from gateway.fleet.model import GenerateRequest

RequestFor = Callable[..., GenerateRequest]
QUICK = Limits(stall_s=10, deadline_s=30, cancel_s=1)


class Running(Protocol):
    url: str


async def broken(url: str, model: str, request: GenerateRequest) -> dict[str, str]:
    return {finding.rule: finding.detail for finding in await check(url, model, sample=request, limits=QUICK) if not finding.ok}


async def test_the_reference_model_keeps_every_rule(triton: Running) -> None:
    findings = await check(triton.url, "testcard", sample=SAMPLE)
    assert [finding for finding in findings if not finding.ok] == []
    rules = {finding.rule for finding in findings}
    assert {"server", "model", "decoupled", "order", "progress", "heartbeat", "video", "refusal", "cancel"} <= rules


@pytest.mark.parametrize(
    "fault,rule,says",
    [
        ("no_progress", "progress", "0 progress messages"),
        ("no_final", "final", "without a response marked FINAL"),
        ("big_chunk", "chunk_size", "1048577 bytes"),
        ("huge_chunk", "chunk_size", "larger than"),
        ("unknown_kind", "kind", "preview"),
        ("foreign_key", "object_key", "belongs under uploads/job_1/1.mp4"),
        ("backwards", "frame_count", "from 6 to 3"),
        ("error", "generate", "CUDA out of memory"),
        ("truncate", "video", "not a playable MP4"),
        ("not_mp4", "video", "not a playable MP4"),
        ("zero_frames", "video", "no video track"),
        ("lying_duration", "video", "holds 6 frames"),
        ("too_many_frames", "video", "holds 17 frames"),
        ("wrong_size", "video", "of 160x90"),
        ("accepts_invalid", "refusal", "width is not supported"),
        ("slow_cancel", "cancel", "still ran after 1 s"),
    ],
)
async def test_a_defect_is_named(triton: Running, request_for: RequestFor, fault: str, rule: str, says: str) -> None:
    found = await broken(triton.url, "faulty", request_for(prompt=f"fault:{fault}"))
    assert says in found[rule]
    assert set(found) <= {rule, "cancel"} if rule != "cancel" else set(found) == {"cancel"}


async def test_a_stored_object_is_accepted_unopened(triton: Running, request_for: RequestFor) -> None:
    assert await broken(triton.url, "faulty", request_for(prompt="fault:object")) == {}


async def test_a_misdeclared_model_is_never_run(triton: Running) -> None:
    found = await broken(triton.url, "misdeclared", SAMPLE)
    assert "decoupled: true" in found["decoupled"]
    assert found["input:seed"] == "The input seed is TYPE_INT32 [1]; it must be TYPE_INT64 [1]."
    assert found["input:media"] == "The input media is TYPE_STRING [1]; it must be TYPE_STRING [-1]."
    assert found["input:surplus"] == "The input surplus is not in the contract, and nobody will send it."
    assert found["output:data"] == "The output data is missing; declare it as TYPE_STRING [1]."
    assert "input:prompt" not in found
    assert "generate" not in found


async def test_no_server_and_no_model_are_told_apart(triton: Running) -> None:
    assert set(await broken("127.0.0.1:1", "testcard", SAMPLE)) == {"server"}
    assert set(await broken(triton.url, "nowhere", SAMPLE)) == {"model"}
