"""Which terms apply, and what they make of a quantity. Pure."""

import msgspec

from billing.errors import PriceMissing
from billing.pricing.charge import maximum
from billing.pricing.explain import explain_maximum
from billing.pricing.hours import band_at, local_time
from billing.pricing.model import FACTOR_ONE, Book, Dimensions, Factor, ModelRates, Terms


class Quote(msgspec.Struct, frozen=True):
    """The most that `quantity` may cost: what an estimate shows and a hold sets aside."""

    terms: Terms
    quantity: int
    amount_micro: int

    @property
    def explanation(self) -> str:
        return explain_maximum(self.terms, self.quantity)


def quote(book: Book, want: Dimensions, quantity: int) -> Quote:
    """Raises PriceMissing."""
    found = terms(book, want)
    return Quote(found, quantity, maximum(found, quantity))


def terms(book: Book, want: Dimensions) -> Terms:
    """What the customer pays from now on for what was admitted at `book.at`. Raises PriceMissing naming what has no price."""
    published = book.card_for(want.model)
    if published is None:
        raise PriceMissing(f"{want.model} in {book.currency}")
    rates = published.card.models[want.model]
    if rates.unit != want.unit:
        raise PriceMissing(f"{want.model} by the {'image' if want.unit == 'image' else 'second'}")
    local = local_time(book.at, book.time_zone)
    band = band_at(rates.hours, local)
    named = [
        *_task(rates, want),
        (want.resolution, _factor(rates.resolution, want.model, "resolution", want.resolution)),
        *_fps(rates, want),
        *_audio(rates, want),
        (want.tier, _factor(rates.tier, want.model, "tier", want.tier)),
        *_accelerator(rates, want),
        *([(band.name, band.factor)] if band else ()),
    ]
    return Terms(
        rate_card_id=published.id,
        currency=book.currency,
        unit=rates.unit,
        price_micro=rates.price_micro,
        factors=tuple((name, factor) for name, factor in named if factor != FACTOR_ONE),
        min_ms=rates.min_ms,
        steps=rates.volume,
        volume_key=f"{local.year:04d}-{local.month:02d}/{want.model}" if rates.volume else "",
        seconds_class=_seconds_class(rates, want, named),
    )


def _seconds_class(rates: ModelRates, want: Dimensions, named: list[tuple[str, int]]) -> str:
    """Prepaid seconds are plain seconds of a resolution: what has a surcharge (a dearer tier, sound) is paid in money."""
    plain = all(factor <= FACTOR_ONE for name, factor in named if name != want.resolution)
    return rates.seconds_class.get(want.resolution, "") if plain else ""


def _factor(factors: dict[str, Factor], model: str, dimension: str, value: str) -> int:
    factor = factors.get(value)
    if factor is None:
        raise PriceMissing(f"{model} with {dimension} {value}")
    return factor


def _task(rates: ModelRates, want: Dimensions) -> list[tuple[str, int]]:
    return [(want.task, _factor(rates.task, want.model, "task", want.task))] if rates.task else []


def _fps(rates: ModelRates, want: Dimensions) -> list[tuple[str, int]]:
    if not rates.fps:
        return []
    for fps in rates.fps:
        if fps.up_to is None or want.fps <= fps.up_to:
            return [(fps.name, fps.factor)]
    raise PriceMissing(f"{want.model} with {want.fps} fps")


def _audio(rates: ModelRates, want: Dimensions) -> list[tuple[str, int]]:
    if not want.audio:
        return []
    if rates.audio is None:
        raise PriceMissing(f"{want.model} with audio")
    return [("audio", rates.audio)]


def _accelerator(rates: ModelRates, want: Dimensions) -> list[tuple[str, int]]:
    if want.accelerator is None:
        return []
    return [(want.accelerator, _factor(rates.accelerator, want.model, "accelerator", want.accelerator))]
