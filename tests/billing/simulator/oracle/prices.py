"""What a job costs, with exact fractions and one rounding at the end, as billing/pricing/README.md states it."""

from datetime import datetime
from fractions import Fraction
from math import floor
from typing import NamedTuple
from zoneinfo import ZoneInfo

from billing.pricing.model import Dimensions, Hours, ModelRates

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Price(NamedTuple):
    """`each`: micro-units for one millisecond or image before volume steps; `steps`: from where on, and their factor."""

    currency: str
    is_video: bool
    each: Fraction
    least: int
    steps: tuple[tuple[int, Fraction], ...]
    volume_key: str
    seconds_class: str


def agree(currency: str, rates: ModelRates, want: Dimensions, at: datetime, zone: str) -> Price:
    local = at.astimezone(ZoneInfo(zone))
    is_video = rates.unit == "ms"
    each = Fraction(rates.price_micro, 1000 if is_video else 1)
    factors = [rates.tier[want.tier]]
    factors += [rates.task[want.task]] if rates.task else []
    factors += [next(one.factor for one in rates.fps if one.up_to is None or want.fps <= one.up_to)] if rates.fps else []
    factors += [rates.audio] if want.audio and rates.audio is not None else []
    factors += [band.factor for band in rates.hours if _holds(band, local)]
    seconds_class = rates.seconds_class.get(want.resolution, "") if max(factors) <= 10_000 else ""
    for factor in [rates.resolution[want.resolution], *factors]:
        each *= Fraction(factor, 10_000)
    key = f"{local.year:04}-{local.month:02}/{want.model}" if rates.volume else ""
    steps = tuple((step.above, Fraction(step.factor, 10_000)) for step in rates.volume)
    return Price(currency, is_video, each, rates.min_ms, steps, key, seconds_class)


def _holds(band: Hours, local: datetime) -> bool:
    """A band that passes midnight belongs to the day on which it began."""
    clock, today, yesterday = f"{local:%H:%M}", DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if band.start < band.end:
        return today in band.days and band.start <= clock < band.end
    return (today in band.days and clock >= band.start) or (yesterday in band.days and clock < band.end)


def billable(price: Price, quantity: int) -> int:
    return max(quantity, price.least) if quantity else 0


def cost(price: Price, quantity: int, position: int = 0, covered: int = 0) -> int:
    """Walks through the month from `position` on, from one step to the next."""
    left, at, weight = max(billable(price, quantity) - covered, 0), position, Fraction(0)
    while left:
        factor = ([Fraction(1)] + [factor for above, factor in price.steps if above <= at])[-1]
        size = min([left] + [above - at for above, _ in price.steps if above > at])
        weight, at, left = weight + size * factor, at + size, left - size
    return floor(weight * price.each)


def most(price: Price, quantity: int) -> int:
    """What is held: all of it at its dearest."""
    return floor(billable(price, quantity) * price.each * dearest(price))


def dearest(price: Price) -> Fraction:
    return max([Fraction(1)] + [factor for _, factor in price.steps])


def most_per_second(price: Price) -> int:
    return -floor(-price.each * 1000 * dearest(price))
