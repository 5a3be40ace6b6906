"""How long a job runs on each pool: the catalogue, corrected by what the gateway itself has measured."""

from math import exp, inf, log

import numpy as np
from numpy.typing import NDArray

from gateway.fleet.policy.model import Fleet
from gateway.fleet.policy.parameters import Parameters

_SPREAD_MIN = 0.02
_ALARM = 0.2


class Cell:
    """Moving mean and variance of ln(actual / catalogue)."""

    __slots__ = ("mu", "runs", "variance")

    def __init__(self) -> None:
        self.runs, self.mu, self.variance = 0, 0.0, 0.0

    def observe(self, ratio: float, alpha_min: float) -> None:
        self.runs += 1
        alpha = max(alpha_min, 1.0 / self.runs)
        error = ratio - self.mu
        self.mu += alpha * error
        self.variance = (1.0 - alpha) * (self.variance + alpha * error * error)


class Timings:
    """One cell for each class and pool, shrunk towards its pool's cell, and that towards the catalogue.

    `mean[c][a]` and `late[c][a]` multiply the catalogue's time: the first for planning, the second for promises.
    """

    def __init__(self, fleet: Fleet, parameters: Parameters) -> None:
        self._fleet, self._parameters = fleet, parameters
        height, width = len(fleet.classes), len(fleet.pools)
        self.cells = [[Cell() for _ in range(width)] for _ in range(height)]
        self.pools = [Cell() for _ in range(width)]
        self.mean = [[1.0] * width for _ in range(height)]
        self.late = [[1.0] * width for _ in range(height)]
        for a in range(width):
            self._correct(a)

    def observe(self, c: int, a: int, seconds: float, actual_s: float) -> float:
        """Learns from a run that succeeded, its model already loaded; returns ln(actual / what was expected)."""
        expected = self.base(c, a, seconds)
        if not 0.0 < expected < inf or actual_s <= 0.0:
            return 0.0
        surprise = log(actual_s / (expected * self.mean[c][a]))
        ratio = max(-3.0, min(3.0, log(actual_s / expected)))
        self.cells[c][a].observe(ratio, self._parameters.alpha_min)
        self.pools[a].observe(ratio, self._parameters.alpha_min)
        self._correct(a)
        return surprise

    def recall(self, c: int | None, a: int, runs: int, mu: float, variance: float) -> None:
        """What another process had measured; `c` None: of the whole pool."""
        cell = self.pools[a] if c is None else self.cells[c][a]
        cell.runs, cell.mu, cell.variance = runs, mu, variance
        self._correct(a)

    def base(self, c: int, a: int, seconds: float) -> float:
        return self._fleet.overhead[c][a] + self._fleet.speed[c][a] * seconds

    def expected_s(self, c: int, a: int, seconds: float) -> float:
        return self.base(c, a, seconds) * self.mean[c][a]

    def late_s(self, c: int, a: int, seconds: float) -> float:
        return self.base(c, a, seconds) * self.late[c][a]

    def runs(self, c: int, a: int) -> int:
        return self.cells[c][a].runs

    def trusted(self, c: int, a: int) -> bool:
        return self._fleet.trusted[c][a] or self.cells[c][a].runs >= self._parameters.trial_jobs

    def drifted(self) -> list[tuple[int, int, float]]:
        """(class, pool, ln ratio) wherever the catalogue is off by more than a fifth."""
        return [
            (c, a, cell.mu)
            for c, row in enumerate(self.cells)
            for a, cell in enumerate(row)
            if cell.runs >= self._parameters.trial_jobs and abs(cell.mu) > _ALARM
        ]

    def seconds(self) -> NDArray[np.float64]:
        """Device-seconds per second of video in the mean, (classes, pools); inf where impossible."""
        return np.multiply(self._fleet.speed, self.mean, dtype=np.float64)

    def _correct(self, a: int) -> None:
        """Every class of a pool moves with it."""
        prior, pool = self._parameters.prior_jobs, self.pools[a]
        trust_pool = pool.runs / (pool.runs + prior)
        for c, row in enumerate(self.cells):
            cell, sigma = row[a], self._fleet.sigma[c][a]
            trust = cell.runs / (cell.runs + prior)
            mu = trust * cell.mu + (1 - trust) * trust_pool * pool.mu
            known = trust_pool * pool.variance + (1 - trust_pool) * sigma * sigma
            variance = max(trust * cell.variance + (1 - trust) * known, _SPREAD_MIN**2)
            self.mean[c][a] = exp(mu + variance / 2)
            self.late[c][a] = exp(mu + 2 * variance**0.5)
