"""How fast keys may read: in the memory of one process, because an answer from there costs less than asking a database."""

from uuid import UUID

from gateway.errors import RateLimited

_KEYS_MAX = 10_000
_BURST_S = 2.0
_TOO_OFTEN = "this key reads too often; read again after Retry-After, or wait with Prefer: wait, events or webhooks"


class ReadPace:
    """A token bucket for each key, filled `per_s` times a second, with two seconds' worth in it (GCRA: one number for each).

    At most `keys_max` are remembered. Keys whose bucket is full need not be; if none is, all start afresh.
    """

    def __init__(self, per_s: int, *, keys_max: int = _KEYS_MAX) -> None:
        self._every_s = 1 / per_s if per_s else 0.0
        self._full_at: dict[UUID, float] = {}
        self._keys_max = keys_max

    def take(self, key_id: UUID, now_s: float) -> None:
        """Raises RateLimited. `now_s` is a monotonic clock's."""
        if not self._every_s:
            return
        full_at = max(self._full_at.get(key_id, now_s), now_s) + self._every_s
        if full_at - now_s > _BURST_S:
            raise RateLimited(_TOO_OFTEN, retry_after_s=1)
        if len(self._full_at) >= self._keys_max and key_id not in self._full_at:
            self._forget(now_s)
        self._full_at[key_id] = full_at

    def _forget(self, now_s: float) -> None:
        self._full_at = {key_id: at for key_id, at in self._full_at.items() if at > now_s}
        if len(self._full_at) >= self._keys_max:
            self._full_at.clear()
