"""Whether a model on a replica is given work: too many failures of late open its breaker. Pure; times are monotonic seconds."""

from collections import deque
from typing import Literal

WINDOW = 10
FAILURES_TO_OPEN = 3
PAUSES_MAX = 20
"""The pause doubles up to so many times the first: 30 s up to 10 min."""


class Breaker:
    """Opens at three failures that are more than half of the last ten. After a pause one job is tried, and decides."""

    def __init__(self, pause_s: float) -> None:
        self._first_pause_s = self._pause_s = pause_s
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self._open_until: float | None = None
        self._trying = False

    def state(self, now: float) -> Literal["closed", "open", "half-open"]:
        if self._open_until is None:
            return "closed"
        return "open" if now < self._open_until or self._trying else "half-open"

    def took(self, now: float) -> None:
        """A job was started; behind an open breaker it is the one that is tried."""
        self._trying = self._trying or self.state(now) == "half-open"

    def succeeded(self) -> None:
        if self._open_until is not None:
            if not self._trying:
                return  # started before it opened
            self._open_until, self._trying, self._pause_s = None, False, self._first_pause_s
            self._outcomes.clear()
        self._outcomes.append(True)

    def failed(self, now: float) -> bool:
        """Returns whether this failure opened it, anew or again."""
        if self._open_until is not None:
            if not self._trying:
                return False  # started before it opened
            self._pause_s = min(self._pause_s * 2, self._first_pause_s * PAUSES_MAX)
        else:
            self._outcomes.append(False)
            failures = self._outcomes.count(False)
            if failures < FAILURES_TO_OPEN or failures * 2 <= len(self._outcomes):
                return False
        self._open_until, self._trying = now + self._pause_s, False
        return True

    def neither(self) -> None:
        """The job ended without saying anything about the model: another may be tried."""
        self._trying = False
