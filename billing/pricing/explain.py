"""How an amount came about, in one line for people; every figure in it is exact but the last, which is the amount. Pure."""

from collections.abc import Sequence

from billing.kit.money import format_micro
from billing.pricing.charge import Part, amount, billable, dearest_parts, parts, payable
from billing.pricing.model import FACTOR_ONE, Terms


def explain(terms: Terms, quantity: int, position: int = 0, covered: int = 0) -> str:
    """`8.000 s × ¥1.00 × 1080p 1.6 × flex 0.5 = ¥6.40`, for what `charge` answers to the same arguments."""
    notes = _notes(terms, quantity)
    if covered := min(covered, billable(terms, quantity)):
        notes.append(f"{_size(terms, covered)} prepaid")
    return _line(terms, parts(terms, payable(terms, quantity, covered), position), notes)


def explain_maximum(terms: Terms, quantity: int) -> str:
    """The same for what `maximum` answers; later volume steps may only lower it."""
    return _line(terms, dearest_parts(terms, quantity), _notes(terms, quantity))


def _notes(terms: Terms, quantity: int) -> list[str]:
    if billable(terms, quantity) == quantity:
        return []
    return [f"minimum {_size(terms, terms.min_ms)} for {_size(terms, quantity)}"]


def _line(terms: Terms, pieces: Sequence[Part], notes: Sequence[str]) -> str:
    """Factors that every part shares stand once, behind the price."""
    shared = list(terms.factors)
    if len(pieces) == 1 and pieces[0][1] != FACTOR_ONE:
        shared.append(("volume", pieces[0][1]))
    sizes = [_size(terms, size) + (_times("volume", factor) if len(pieces) > 1 else "") for size, factor in pieces]
    line = " + ".join(sizes) or _size(terms, 0)
    if len(pieces) > 1:
        line = f"({line})"
    if notes:
        line += f" ({', '.join(notes)})"
    line += f" × {format_micro(terms.price_micro, terms.currency)}" + "".join(_times(*factor) for factor in shared)
    return f"{line} = {format_micro(amount(terms, pieces), terms.currency)}"


def _times(name: str, factor: int) -> str:
    return "" if factor == FACTOR_ONE else f" × {name} {decimal(factor)}"


def _size(terms: Terms, quantity: int) -> str:
    if terms.unit == "image":
        return f"{quantity} image" + ("" if quantity == 1 else "s")
    return f"{quantity // 1000}.{quantity % 1000:03d} s"


def decimal(factor: int) -> str:
    """`16_000` → `1.6`: the exact decimal of a factor."""
    whole, rest = divmod(factor, FACTOR_ONE)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")
