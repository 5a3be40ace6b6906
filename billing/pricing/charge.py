"""What a quantity costs under frozen terms: one arithmetic for the estimate, the hold and the charge. Pure.

Exact up to its end: the price, every factor and the quantity are multiplied as integers and divided once, rounding down
to a micro-unit. So an amount never falls when the quantity grows, and what was held for a maximum covers every charge.
"""

from collections.abc import Sequence
from typing import TypeAlias

from billing.pricing.model import FACTOR_ONE, Terms

Part: TypeAlias = tuple[int, int]
"""A piece of a quantity and its volume factor."""


def charge(terms: Terms, quantity: int, position: int = 0, covered: int = 0) -> int:
    """Micro-units for `quantity` delivered after `position` of the same month, `covered` of it by prepaid seconds.

    Raises TypeError for a number that is no integer, ValueError for a negative one.
    """
    return amount(terms, parts(terms, payable(terms, quantity, covered), position))


def maximum(terms: Terms, quantity: int) -> int:
    """The most that any delivery of up to `quantity` may cost, wherever in the month it falls: what is held."""
    return amount(terms, dearest_parts(terms, quantity))


def billable(terms: Terms, quantity: int) -> int:
    """The quantity that is charged for: nothing for nothing, else no less than the minimum."""
    _refuse_inexact(quantity)
    return max(quantity, terms.min_ms) if quantity else 0


def payable(terms: Terms, quantity: int, covered: int) -> int:
    """What of the billable quantity is left for money."""
    _refuse_inexact(covered)
    return max(billable(terms, quantity) - covered, 0)


def parts(terms: Terms, quantity: int, position: int) -> list[Part]:
    """`quantity` cut where the month's total passes a volume step."""
    _refuse_inexact(position)
    bounds = [0, *(step.above for step in terms.steps)]
    factors = [FACTOR_ONE, *(step.factor for step in terms.steps)]
    ends = [*bounds[1:], max(bounds[-1], position + quantity)]
    cut = [
        (min(end, position + quantity) - max(start, position), factor)
        for start, end, factor in zip(bounds, ends, factors, strict=True)
    ]
    return [(size, factor) for size, factor in cut if size > 0]


def dearest_parts(terms: Terms, quantity: int) -> list[Part]:
    """All of the billable quantity at its highest volume factor."""
    return [(billable(terms, quantity), terms.dearest)]


def amount(terms: Terms, pieces: Sequence[Part]) -> int:
    """The one rounding."""
    above, below = terms.fraction()
    return above * sum(size * factor for size, factor in pieces) // below


def _refuse_inexact(quantity: object) -> None:
    if type(quantity) is not int:
        message = f"a quantity is a whole number of milliseconds or images, not {quantity!r}"
        raise TypeError(message)
    if quantity < 0:
        message = f"a quantity is not negative: {quantity}"
        raise ValueError(message)
