"""Which replica runs the next job. Pure: the dispatcher tells it what happens and what time it is."""

from collections.abc import Collection, Sequence

import msgspec

_COOLDOWN_S = 2.0
_COOLDOWN_MAX_S = 60.0
_FAILURES_TO_TRIP = 3


class Replica(msgspec.Struct):
    """One Triton server: what it serves, what it runs, and whether it may be given more.

    `down` until its probe has answered; `tripped_until` after failures in a row (monotonic seconds), doubling up to a minute.
    """

    name: str
    url: str
    models: tuple[str, ...]
    slots: int
    running: int = 0
    down: bool = True
    failures: int = 0
    tripped_until: float = 0.0

    def free(self, now: float) -> int:
        return 0 if self.down or now < self.tripped_until else max(self.slots - self.running, 0)


class Replicas:
    """The fleet as one dispatcher sees it."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.all = tuple(replicas)

    def free(self, now: float) -> dict[str, int]:
        """Free slots by model, only models that have one; a replica that serves two models counts for both."""
        slots: dict[str, int] = {}
        for replica in self.all:
            for model in replica.models:
                slots[model] = slots.get(model, 0) + replica.free(now)
        return {model: count for model, count in slots.items() if count}

    def pick(self, model: str, now: float, *, tried: Collection[str]) -> Replica | None:
        """The least busy replica with a free slot, one that has not failed this job if there is any."""
        fit = [replica for replica in self.all if model in replica.models and replica.free(now)]
        return min(fit, key=lambda replica: (replica.name in tried, replica.running / replica.slots), default=None)

    def delivered(self, replica: Replica) -> None:
        replica.failures = 0

    def failed(self, replica: Replica, now: float) -> None:
        """Three failures in a row trip the breaker; afterwards each further one doubles the pause."""
        replica.failures += 1
        if replica.failures >= _FAILURES_TO_TRIP:
            pause = _COOLDOWN_S * 2 ** min(replica.failures - _FAILURES_TO_TRIP, 10)
            replica.tripped_until = now + min(pause, _COOLDOWN_MAX_S)

    def unreachable(self, replica: Replica) -> None:
        """No more jobs until a probe answers again."""
        replica.down = True
