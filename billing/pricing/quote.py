"""Quote, hold and charge: one arithmetic for all three. Pure."""

from billing.errors import PriceMissing
from billing.kit.money import charge_micro, format_micro
from billing.pricing.model import FACTOR_ONE, Dimensions, Published, Quote


def rate_micro_per_s(book: Published, want: Dimensions) -> int:
    """The frozen rate: base × resolution × audio × tier, rounded down once to a micro-unit. Raises PriceMissing."""
    rates = book.card.models.get(want.model)
    if rates is None or want.resolution not in rates.resolution or want.tier not in rates.tier:
        raise PriceMissing(f"{want.model} {want.resolution} {want.tier} {book.card.currency}")
    audio = rates.audio if want.audio else FACTOR_ONE
    return rates.per_second_micro * rates.resolution[want.resolution] * audio * rates.tier[want.tier] // FACTOR_ONE**3


def quote(book: Published, want: Dimensions, duration_ms: int) -> Quote:
    """The price of `duration_ms`. Raises PriceMissing."""
    rate = rate_micro_per_s(book, want)
    amount = charge_micro(duration_ms, rate)
    return Quote(book.id, book.card.currency, rate, duration_ms, amount, _explain(book, want, duration_ms, amount))


def _explain(book: Published, want: Dimensions, duration_ms: int, amount_micro: int) -> str:
    """`8.000 s × ¥1.00 × 1080p 1.6 × flex 0.5 = ¥6.40`."""
    rates = book.card.models[want.model]
    factors = [(want.resolution, rates.resolution[want.resolution]), (want.tier, rates.tier[want.tier])]
    if want.audio:
        factors.insert(1, ("audio", rates.audio))
    parts = [f"{duration_ms // 1000}.{duration_ms % 1000:03d} s", format_micro(rates.per_second_micro, book.card.currency)]
    parts += [f"{name} {factor / FACTOR_ONE:g}" for name, factor in factors if factor != FACTOR_ONE]
    return " × ".join(parts) + f" = {format_micro(amount_micro, book.card.currency)}"
