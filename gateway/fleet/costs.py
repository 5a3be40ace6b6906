"""What a request's compute may cost us at most, by the catalogue."""

from math import ceil
from typing import Self

from gateway.fleet.chips import Chips

_S_PER_HOUR = 3600


class ComputeCosts:
    """For setting a part of a budget of ours aside before a free job runs. Only chips with a price count."""

    def __init__(self, rows: dict[tuple[str, str], list[tuple[float, float, int]]]) -> None:
        self._rows = rows

    @classmethod
    def of(cls, chips: Chips) -> Self:
        costs = cls({})
        costs.follow(chips)
        return costs

    def follow(self, chips: Chips) -> None:
        """From here on by this catalogue."""
        prices = {one.name: one.price_micro_usd_per_hour for one in chips.accelerators}
        rows: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
        for speed in chips.speeds:
            price = prices[speed.accelerator]
            if price is not None:
                row = (speed.overhead_s, speed.seconds_per_second, price)
                rows.setdefault((speed.model, speed.resolution), []).append(row)
        self._rows = rows

    def most_micro_usd(self, model: str, resolution: str, duration_ms: int) -> int:
        """On the chip where it costs most, rounded up; 0 where no chip that runs it has a price."""
        rows = self._rows.get((model, resolution), ())
        times = [(overhead_s + per_s * duration_ms / 1000, price) for overhead_s, per_s, price in rows]
        return max((ceil(run_s * price / _S_PER_HOUR) for run_s, price in times), default=0)
