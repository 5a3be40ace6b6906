"""What may be promised: the earliest start by which everything admitted, and one job more, can have started.

For each group of pools (prices.py) and tier there is a curve over the time from now: the work that can be started by then, less
what was admitted and is due by then, less what higher tiers are expected to bring. Its running minimum from the far end says how
much room a promise at that time has. Work is added and taken away bucket by bucket; nothing here walks the queue.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.fleet.policy.parameters import FLEX, PRIORITY, STANDARD, Parameters

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
TIER_COUNT = 3
_SOON_S = 3_600.0


class Rates:
    """Amounts a second, each forgotten exponentially over `memory_s`; right soon after the start."""

    def __init__(self, size: int, memory_s: float, now: float) -> None:
        self._memory_s, self.born = memory_s, now
        self._sum, self._at = np.zeros(size), np.full(size, now)

    def add(self, index: int, amount: float, now: float) -> None:
        aged = self._sum[index] * np.exp((self._at[index] - now) / self._memory_s)
        self._sum[index], self._at[index] = aged + amount, now

    def get(self, index: int) -> tuple[float, float]:
        """The remembered sum and when it was that."""
        return float(self._sum[index]), float(self._at[index])

    def put(self, index: int, amount: float, at: float) -> None:
        """What another process remembered; its time counts as ours."""
        self._sum[index], self._at[index] = amount, at

    def read(self, now: float) -> Floats:
        age = max(now - self.born, self._memory_s / 4)
        return self._sum * np.exp((self._at - now) / self._memory_s) / (self._memory_s * (1.0 - np.exp(-age / self._memory_s)))


class Ledger:
    """Seconds of video that were admitted and have not started, by tier, class and time due; and when running slots end.

    A ring of buckets of `bucket_s` holds each; what is overdue stands before the first. `size` is (classes, pools).
    """

    def __init__(self, size: tuple[int, int], parameters: Parameters, now: float) -> None:
        classes, pools = size
        self._parameters, self._bucket_s = parameters, parameters.bucket_s
        self._length = int(parameters.horizon_s / parameters.bucket_s)
        self._due = np.zeros((TIER_COUNT, classes, self._length))
        self._overdue = np.zeros((TIER_COUNT, classes))
        self._ends = np.zeros((pools, self._length))
        self._overrun = np.zeros(pools)
        self._base = int(now // self._bucket_s)
        self.soon = [[0.0]] * pools
        """For each pool, how many running slots should have ended by each bucket of the next hour, as of the last drawing."""
        self._work = np.zeros((0, TIER_COUNT, self._length))
        self._overdue_work = np.zeros((0, TIER_COUNT))
        self._omega: Sequence[float] = [0.0] * classes
        self._group: Sequence[int] = [-1] * classes
        self.room = np.zeros((0, TIER_COUNT, self._length))
        """(groups, tiers, buckets): what one more promise for each bucket may weigh; never falls with time."""

    # -- the ring --------------------------------------------------------------------------------------------------------
    def add_due(self, tier: int, c: int, due: float, seconds: float) -> None:
        """A job was admitted (`seconds` > 0), or started, cancelled or lost (< 0)."""
        bucket, group = int(due // self._bucket_s), self._group[c]
        if bucket < self._base:
            self._overdue[tier, c] += seconds
            if group >= 0:
                self._overdue_work[group, tier] += seconds * self._omega[c]
            return
        place = min(bucket, self._base + self._length - 1) % self._length
        self._due[tier, c, place] += seconds
        if group >= 0:
            self._work[group, tier, place] += seconds * self._omega[c]

    def load(self, queue: Integers, due: Floats, seconds: Floats) -> None:
        """Many jobs at once, into an empty ledger; `reprice` must follow. `queue`: class × tiers + tier."""
        bucket = (due // self._bucket_s).astype(np.int64)
        late = bucket < self._base
        tier, c = queue % TIER_COUNT, queue // TIER_COUNT
        place = np.minimum(bucket, self._base + self._length - 1) % self._length
        np.add.at(self._overdue, (tier[late], c[late]), seconds[late])
        np.add.at(self._due, (tier[~late], c[~late], place[~late]), seconds[~late])

    def add_end(self, pool: int, ends: float, count: int) -> None:
        """A slot of `pool` was taken until about `ends` (`count` 1) or given free (-1)."""
        bucket = int(ends // self._bucket_s)
        if bucket < self._base:
            self._overrun[pool] += count
        else:
            self._ends[pool, min(bucket, self._base + self._length - 1) % self._length] += count

    def ending(self, pool: int, within_s: float) -> float:
        """How many running slots of `pool` should end within this time, as of the last drawing; an hour is as far as it looks."""
        soon = self.soon[pool]
        return soon[min(int(within_s // self._bucket_s), len(soon) - 1)]

    def advance(self, now: float) -> None:
        """Moves the first bucket to now."""
        base = int(now // self._bucket_s)
        if base <= self._base:
            return
        gone = np.arange(self._base, min(base, self._base + self._length)) % self._length
        self._overdue += self._due[:, :, gone].sum(axis=2)
        self._overdue_work += self._work[:, :, gone].sum(axis=2)
        self._overrun += self._ends[:, gone].sum(axis=1)
        self._due[:, :, gone], self._work[:, :, gone], self._ends[:, gone] = 0.0, 0.0, 0.0
        self._base = base

    def reprice(self, group: Sequence[int], omega: Sequence[float], groups: int) -> None:
        """New groups and weights: the work in the ring is weighed again, whatever the length of the queue."""
        self._group, self._omega = group, omega
        weights = np.zeros((groups, len(omega)))
        for c, (g, weight) in enumerate(zip(group, omega, strict=True)):
            if g >= 0:
                weights[g, c] = weight
        self._work = np.ascontiguousarray(np.matmul(weights, self._due).swapaxes(0, 1))
        self._overdue_work = weights @ self._overdue.T

    # -- the curve -------------------------------------------------------------------------------------------------------
    def draw(
        self,
        now: float,
        idle: Sequence[int],
        mean_s: Floats,
        unit: Floats,
        pool_group: Sequence[int],
        soon: Floats,
        usual: Floats,
    ) -> None:
        """Draws `room` anew. `idle`, `mean_s`, `unit`: free slots, mean run time and work a slot-second of each pool; `soon` and
        `usual` (groups, tiers): work a second that each tier brought of late and for longer.
        """
        self.advance(now)
        places = np.arange(self._base, self._base + int(_SOON_S // self._bucket_s)) % self._length
        self.soon = np.pad(self._ends[:, places].cumsum(axis=1), ((0, 0), (1, 0))).tolist()
        startable = self._startable(now, idle, mean_s, unit, pool_group, len(self._work))
        work = self._unrolled(self._work)
        due = work.cumsum(axis=2) + self._overdue_work[:, :, None]
        ahead = due.cumsum(axis=1)  # a tier waits for those above it, too
        offsets = self.offsets(now)
        filled = self._parameters.fill * startable
        room = np.empty_like(ahead)
        room[:, PRIORITY] = filled - due[:, PRIORITY]
        higher = self._parameters.forecast_margin * soon
        room[:, STANDARD] = filled - ahead[:, STANDARD] - higher[:, PRIORITY, None] * offsets
        room[:, FLEX] = filled - ahead[:, FLEX] - (usual[:, PRIORITY] + usual[:, STANDARD])[:, None] * offsets
        # What was promised to flex jobs is not given away to standard ones.
        np.minimum(room[:, STANDARD], np.where(due[:, FLEX] > 0, startable - ahead[:, FLEX], np.inf), out=room[:, STANDARD])
        self.room = np.minimum.accumulate(room[:, :, ::-1], axis=2)[:, :, ::-1]

    def take(self, group: int, tier: int, due: float, work: float) -> None:
        """A promise was made since the curve was drawn."""
        bucket = min(max(int(due // self._bucket_s) - self._base, 0), self._length - 1)
        rows = self.room[group, tier:] if tier else self.room[group]
        rows[:, bucket:] -= work
        np.minimum(rows[:, :bucket], rows[:, bucket, None], out=rows[:, :bucket])

    def earliest(self, group: int, tier: int, now: float) -> float | None:
        """Seconds from now until the first bucket that has room for one more start; None if none has."""
        bucket = int(np.searchsorted(self.room[group, tier], 0.0, side="right"))
        if bucket >= self._length:
            return None
        return max((self._base + bucket) * self._bucket_s - now, 0.0)

    def points(self, count: int) -> list[int]:
        """Buckets for a short copy of the curve: every one at first, then ever fewer, the last one included."""
        geometric = np.unique(np.geomspace(1, self._length, count).astype(int)) - 1
        return geometric.tolist()

    def ahead(self, group: int, tier: int) -> float:
        """Work that waits in this tier and those above it."""
        return float(self._overdue_work[group, : tier + 1].sum() + self._work[group, : tier + 1].sum())

    def due_shares(self, points: list[int]) -> Floats:
        """(groups, tiers, points): of the work that waits, the share that is due before each of these buckets begins."""
        work = self._unrolled(self._work)
        before = work.cumsum(axis=2) - work + self._overdue_work[:, :, None]
        total = before[:, :, -1:] + work[:, :, -1:]
        return np.clip(before[:, :, points] / np.maximum(total, 1e-9), 0.0, 1.0)

    def offsets(self, now: float) -> Floats:
        """Seconds from now to the start of each bucket."""
        return np.maximum((self._base + np.arange(self._length)) * self._bucket_s - now, 0.0)

    def _unrolled(self, ring: Floats) -> Floats:
        first = self._base % self._length
        return np.concatenate([ring[..., first:], ring[..., :first]], axis=-1)

    def _startable(
        self, now: float, idle: Sequence[int], mean_s: Floats, unit: Floats, pool_group: Sequence[int], groups: int
    ) -> Floats:
        """Work that each group can have started by each bucket: a slot that is free or ends can start a job at once, however
        long, and another after each mean run time. Many slots end at many times, and start half a job more than that by the way.
        """
        gaps_s = np.diff(self.offsets(now), prepend=0.0)
        startable = np.zeros((groups, self._length))
        first = self._base % self._length
        for a, group in enumerate(pool_group):
            if group < 0:
                continue
            free = np.empty(self._length)
            free[0] = idle[a]
            free[1 : self._length - first] = self._ends[a, first:-1]
            free[self._length - first :] = self._ends[a, :first] if first else 0.0
            # Those that run longer than expected end some time soon: a quarter of a mean run from now.
            free[min(int(mean_s[a] / 4 / self._bucket_s) + 1, self._length - 1)] += self._overrun[a]
            np.cumsum(free, out=free)
            slot_s = np.empty(self._length)
            slot_s[0] = 0.0
            np.cumsum(free[:-1] * gaps_s[1:], out=slot_s[1:])
            slots = max(float(free[-1]), 1.0)
            wait = int(mean_s[a] * (1.0 - 0.5 * (1.0 - slots**-0.5)) / self._bucket_s) + 1
            startable[group] += unit[a] * mean_s[a] * free
            if wait < self._length:
                startable[group, wait:] += unit[a] * slot_s[: self._length - wait]
        return startable
