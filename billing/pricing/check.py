"""Is a rate card fit to be published? Pure: what is wrong is named, all of it at once."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

from billing.errors import RateCardInvalid
from billing.kit.money import SYMBOLS
from billing.pricing.hours import is_empty, overlaps
from billing.pricing.model import FACTOR_ONE, ModelRates, Offer, RateCard

RATE_MICRO_MAX = 10**15
"""What a second or an image may cost at its dearest, so that an hour of it still fits a bigint."""


def read_card(raw: object) -> RateCard:
    """A card from the values of a TOML or JSON document. Raises RateCardInvalid naming model and entry, for a float too."""
    try:
        return msgspec.convert(raw, RateCard)
    except msgspec.ValidationError as error:
        raise RateCardInvalid(_of_a_model(raw) or str(error)) from error


class _Unread(msgspec.Struct, frozen=True):
    """A card whose models nobody has looked at."""

    models: dict[str, object]


def _of_a_model(raw: object) -> str:
    """What is wrong with the first model that is; the decoder itself does not say which."""
    try:
        models = msgspec.convert(raw, _Unread).models
    except msgspec.ValidationError:
        return ""
    for name, rates in models.items():
        try:
            msgspec.convert(rates, ModelRates)
        except msgspec.ValidationError as error:
            return f"{name}: {error}"
    return ""


def check(card: RateCard, offers: Mapping[str, Offer] | None = None, *, whole: bool = True) -> RateCard:
    """The card, if nothing is wrong with it. Raises RateCardInvalid naming everything that is."""
    found = problems(card, offers, whole=whole)
    if found:
        raise RateCardInvalid("; ".join(found))
    return card


def problems(card: RateCard, offers: Mapping[str, Offer] | None = None, *, whole: bool = True) -> list[str]:
    """One sentence each. With `offers` also what they accept and the card lacks; a card that is not `whole` may lack models."""
    try:
        read_card(msgspec.to_builtins(card))
    except RateCardInvalid as error:  # a card made in code has not been through any decoder yet
        return [error.detail]
    found = [] if card.currency in SYMBOLS else [f"currency {card.currency!r} is unknown; there are: {', '.join(SYMBOLS)}"]
    found += [f"{name}: {problem}" for name, rates in card.models.items() for problem in _inside(rates)]
    if offers is None:
        return found
    found += [f"{name}: there is no such model" for name in card.models if name not in offers]
    if whole:
        found += [f"{name}: the card has no price for this model" for name in offers if name not in card.models]
    priced = ((name, rates, offers[name]) for name, rates in card.models.items() if name in offers)
    return found + [f"{name}: {problem}" for name, rates, offer in priced for problem in _against(rates, offer)]


def _inside(rates: ModelRates) -> Iterator[str]:
    """What is wrong with a model's rates whatever the model can do."""
    for dimension, values in (("resolution", rates.resolution), ("tier", rates.tier)):
        if not values:
            yield f"{dimension} needs at least one entry"
    yield from _fps_order(rates)
    yield from _bands(rates)
    for before, after in pairwise(rates.volume):
        if before.above >= after.above:
            yield f"volume: a step above {after.above} must come before one above {before.above}"
    for resolution in rates.seconds_class:
        if resolution not in rates.resolution:
            yield f"seconds_class names {resolution}, which resolution does not"
    if rates.unit == "image" and (rates.min_ms or rates.seconds_class):
        yield "min_ms and seconds_class are for models sold by the second"
    if _rate_max(rates) > RATE_MICRO_MAX:
        yield f"its dearest combination costs more than {RATE_MICRO_MAX} micro-units"


def _fps_order(rates: ModelRates) -> Iterator[str]:
    for before, after in pairwise(rates.fps):
        if before.up_to is None or (after.up_to is not None and before.up_to >= after.up_to):
            yield f"fps: {after.name!r} overlaps {before.name!r}; order the classes by up_to, the one without it last"


def _bands(rates: ModelRates) -> Iterator[str]:
    for band in rates.hours:
        if is_empty(band):
            yield f"hours: {band.name!r} holds no time; give it days, and an end that is not its start (24:00 ends a day)"
        if len(set(band.days)) < len(band.days):
            yield f"hours: {band.name!r} names a day twice"
    for first, second in dict.fromkeys(overlaps(rates.hours)):
        yield f"hours: {first!r} overlaps {second!r}"


def _rate_max(rates: ModelRates) -> int:
    above, below = rates.price_micro, 1
    sets = [
        rates.resolution.values(), rates.tier.values(), rates.task.values(), rates.accelerator.values(), [rates.audio or 0],
        [fps.factor for fps in rates.fps], [band.factor for band in rates.hours], [step.factor for step in rates.volume],
    ]  # fmt: skip
    for factors in sets:
        above, below = above * max((FACTOR_ONE, *factors)), below * FACTOR_ONE
    return above // below


def _against(rates: ModelRates, offer: Offer) -> Iterator[str]:
    """Holes, and entries for what nobody can order."""
    if rates.unit != offer.unit:
        yield f"unit is {rates.unit}, but the model is sold by {offer.unit}"
    yield from _compare("resolution", rates.resolution, offer.resolutions, needed=True)
    yield from _compare("tier", rates.tier, offer.tiers, needed=True)
    yield from _compare("task", rates.task, offer.tasks, needed=bool(rates.task))
    yield from _compare("accelerator", rates.accelerator, offer.accelerators, needed=True)
    if rates.fps and rates.fps[-1].up_to is not None and max(offer.fps, default=0) > rates.fps[-1].up_to:
        yield f"fps has no class for {max(offer.fps)}"
    if offer.audio and rates.audio is None:
        yield "audio has no factor, but the model makes sound"


def _compare(dimension: str, priced: Mapping[str, int], offered: tuple[str, ...], *, needed: bool) -> Iterator[str]:
    for value in offered:
        if needed and value not in priced:
            yield f"{dimension} has no entry for {value}"
    for value in priced:
        if value not in offered:
            yield f"{dimension} {value} is not offered; there are: {', '.join(offered) or 'none'}"
