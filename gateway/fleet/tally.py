"""Does a model still work for a request that was left? Told from the server's own count of requests that ended. Pure.

Triton tells nobody when a cancelled request has stopped. It does count every request that ends, so while we are its only client,
what began and has not ended is what still runs.
"""


class Tally:
    """The attempts of one model on one server. An attempt counts from its first message, which only a running model sends."""

    def __init__(self) -> None:
        self._begun: int = 0
        self._open: int = 0
        self._left: int = 0
        self._ended: int = -1
        self._base: int = -1

    def began(self) -> None:
        self._begun += 1
        self._open += 1

    def finished(self) -> None:
        """The model itself ended it."""
        self._open -= 1

    def left(self) -> None:
        """We went away, and the server should stop."""
        self._left += 1

    def lost(self) -> None:
        """The connection broke: the server has died, or ends the request by itself."""
        self._begun -= 1
        self._open -= 1

    @property
    def quiet(self) -> bool:
        """Nothing that was left is known to run on."""
        return self._left == 0

    def counted(self, ended: int) -> None:
        """The server says that so many requests have ended since it was started."""
        running = self._open - self._left
        if self._base < 0 or ended < self._ended:  # never asked before, or it is another process now
            self._open, self._left, self._base = running, 0, ended - self._begun + running
        elif self._open == 0:  # what others asked of it does not add up
            self._base = ended - self._begun
        elif self._begun - (ended - self._base) <= running:
            self._open, self._left = running, 0
        self._ended = ended
