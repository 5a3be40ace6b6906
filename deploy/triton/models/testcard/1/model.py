"""The Triton entry point of the test card: one decoupled request at a time per instance."""

import json
import os
import time
from collections.abc import Iterator

from testcard.clip import Clip
from testcard.contract import Answer, Cancelled, Refused, TritonRequest, read
from testcard.plan import plan

PROGRESS_EVERY_S = 0.5
POLL_S = 0.02


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        pace = os.environ.get("TESTCARD_PACE") or parameters["pace_s_per_s"]["string_value"]
        self._pace_s_per_s = float(pace)
        self._threads = int(parameters["encoder_threads"]["string_value"])

    def execute(self, requests: list[TritonRequest]) -> None:
        for request in requests:
            self._serve(request)

    def _serve(self, request: TritonRequest) -> None:
        answer = Answer(request.get_response_sender())
        try:
            if answer.is_cancelled():  # while it waited for this instance
                raise Cancelled
            self._generate(request, answer)
        except Refused as refusal:
            answer.refuse(str(refusal))
        except Cancelled:
            answer.cancelled()
        except Exception as error:  # noqa: BLE001 - the request must end, whatever broke; the gateway tries elsewhere
            answer.fail(f"{type(error).__name__}: {error}")

    def _generate(self, request: TritonRequest, answer: Answer) -> None:
        started = time.monotonic()
        planned = plan(read(request))
        pacer = Pacer(answer, started, self._pace_s_per_s / planned.fps)
        answer.progress(0, planned.frames)
        told = started
        with Clip(planned, threads=self._threads) as clip:
            for frames_done in clip.render():
                for now in pacer.until(frames_done):
                    if now - told >= PROGRESS_EVERY_S:
                        answer.progress(frames_done - 1, planned.frames)
                        told = now
            answer.progress(planned.frames, planned.frames)
            answer.file(clip.file(), planned.frames)


class Pacer:
    """Holds frame n back until `n * frame_s` after the start and looks for a cancellation every POLL_S."""

    def __init__(self, answer: Answer, started: float, frame_s: float) -> None:
        self._answer = answer
        self._started = started
        self._frame_s = frame_s
        self._polled = 0.0

    def until(self, frames_done: int) -> Iterator[float]:
        """Yield the time at least once, and again after each short wait. Raises `Cancelled`."""
        due = self._started + frames_done * self._frame_s
        while True:
            now = time.monotonic()
            if now - self._polled >= POLL_S:
                self._polled = now
                if self._answer.is_cancelled():
                    raise Cancelled
            yield now
            if now >= due:
                return
            time.sleep(min(POLL_S, due - now))
