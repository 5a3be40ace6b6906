"""The test card with a fault: a prompt `fault:NAME` or `fault:NAME@K` (K: frames generated first) chooses how it misbehaves."""

import io
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).resolve().parents[5] / "deploy" / "triton" / "models" / "testcard" / "1"))

from testcard.clip import Clip
from testcard.contract import Answer, Cancelled, Refused, TritonRequest, VideoRequest, pb_utils, read
from testcard.plan import Plan, plan

MIB = 1024 * 1024
HELD_S_MAX = 20.0


class FaultyAnswer(Answer):
    def close(self) -> None:
        """End the stream with an empty FINAL, which tritonclient's asyncio stream never shows."""
        self._sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class TritonPythonModel:
    def execute(self, requests: list[TritonRequest]) -> None:
        for request in requests:
            answer = FaultyAnswer(request.get_response_sender())
            asked = read(request)
            name, _, frames = asked.prompt.removeprefix("fault:").partition(" ")[0].partition("@")
            try:
                _misbehave(name, int(frames or 0), asked, answer)
            except Refused as refusal:
                if name == "accepts_invalid":
                    answer.fail("width is not supported")
                else:
                    answer.refuse(str(refusal))
            except Cancelled:
                answer.cancelled()


def _misbehave(name: str, at: int, asked: VideoRequest, answer: FaultyAnswer) -> None:
    planned = plan(asked)
    total = planned.frames
    if name == "invalid":
        raise Refused("this model cannot draw lighthouses")
    if name == "silent":
        _hold(answer)
    if name != "no_progress":
        answer.progress(0, total)
    match name:
        case "held":
            _hold(answer)
        case "error":
            answer.fail("CUDA out of memory")
        case "stall":
            answer.progress(at, total)
            _hold(answer)
        case "crash":
            answer.progress(at, total)
            os._exit(1)
        case "slow_cancel":
            time.sleep(3)
            _deliver(answer, _film(planned), total)
        case "object":
            answer.send("object", total, total, f"uploads/{asked.request_id}/{asked.attempt}.mp4".encode(), final=True)
        case _ if name in MESSAGES:
            _say(answer, MESSAGES[name], total)
        case _:
            _deliver(answer, _file(name, planned), total)


def _file(name: str, planned: Plan) -> bytes:
    match name:
        case "truncate":
            film = _film(planned)
            return film[: len(film) // 2]
        case "zero_frames":
            return _empty_film()
        case "not_mp4":
            return b"<html>502 Bad Gateway</html>" * 100
        case "lying_duration":
            return _film(replace(planned, frames=planned.frames // 2))
        case "too_many_frames":
            return _film(replace(planned, frames=planned.frames + 5))
        case "wrong_size":
            return _film(replace(planned, width=planned.width // 2, height=planned.height // 2))
        case _:
            return _film(planned)


# kind, share of the frames that are done, data, FINAL
MESSAGES: dict[str, list[tuple[str, float, bytes, bool]]] = {
    "no_final": [("chunk", 1, b"x", False)],
    "final_progress": [("progress", 1, b"", True)],
    "final_early": [("chunk", 0.5, b"x", True)],
    "big_chunk": [("chunk", 1, b"x" * (MIB + 1), True)],
    "huge_chunk": [("chunk", 1, b"x" * (8 * MIB), True)],
    "empty_chunk": [("chunk", 1, b"", True)],
    "backwards": [("progress", 0.5, b"", False), ("progress", 0.25, b"", False), ("chunk", 1, b"x", True)],
    "progress_after_chunk": [("chunk", 1, b"x", False), ("progress", 1, b"", False), ("chunk", 1, b"x", True)],
    "chunk_then_object": [("chunk", 1, b"x", False), ("object", 1, b"key", True)],
    "object_then_chunk": [("object", 1, b"uploads/job_1/1.mp4", False), ("chunk", 1, b"x", True)],
    "unknown_kind": [("preview", 1, b"x", True)],
    "foreign_key": [("object", 1, b"uploads/job_of_somebody_else/1.mp4", True)],
}


def _say(answer: FaultyAnswer, messages: list[tuple[str, float, bytes, bool]], total: int) -> None:
    for kind, share, data, final in messages:
        answer.send(kind, int(total * share), total, data, final=final)
    if not messages[-1][3]:
        answer.close()


def _deliver(answer: FaultyAnswer, film: bytes, total: int) -> None:
    answer.file(io.BytesIO(film), total)


def _film(planned: Plan) -> bytes:
    with Clip(planned, threads=1) as clip:
        for _ in clip.render():
            pass
        return clip.file().read()


def _empty_film() -> bytes:
    """A valid MP4 whose video track holds no frame."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    return out.getvalue()


def _hold(answer: FaultyAnswer) -> None:
    """Say nothing until the caller goes away."""
    give_up = time.monotonic() + HELD_S_MAX
    while time.monotonic() < give_up:
        if answer.is_cancelled():
            raise Cancelled
        time.sleep(0.02)
