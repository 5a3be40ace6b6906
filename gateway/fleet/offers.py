"""What is sold: price lists, plans, packs and who sells them, from files, checked against the models."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

import msgspec

from billing.errors import BillingError, RateCardInvalid
from billing.plans.catalogue import read_catalogue
from billing.plans.model import Catalogue, ContractPlan, FreePlan
from billing.plans.sellers import Sellers, read_sellers
from billing.pricing.check import problems, read_card
from billing.pricing.model import Offer, RateCard
from gateway.fleet.catalogue import CatalogueError, Models, file_of, load_models, read_table
from gateway.video import Tier, resolution_classes, tasks

Parsed = TypeVar("Parsed")


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """prices.toml."""

    cards: tuple[object, ...]


def load_prices(folder: str) -> tuple[RateCard, ...]:
    """Reads prices.toml of `folder`, empty for the packaged catalogue: a whole list in each of its currencies.

    Raises CatalogueError, also for what models.toml offers and a card has no price for.
    """
    return read_prices(file_of(folder, "prices.toml"), folder, whole=True)


def read_prices(path: Path, folder: str, *, whole: bool) -> tuple[RateCard, ...]:
    """Reads cards from any file and checks them against models.toml of `folder`; only a `whole` list must name every model.

    Raises CatalogueError naming all that is wrong.
    """
    try:
        cards = tuple(read_card(raw) for raw in msgspec.convert(read_table(path), Prices).cards)
    except RateCardInvalid as error:
        raise CatalogueError(f"{path}: {error.detail}") from error
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{path}: {error}") from error
    offered = offers(load_models(folder))
    found = [f"{card.currency}: {problem}" for card in cards for problem in problems(card, offered, whole=whole)]
    currencies = [card.currency for card in cards]
    found += [f"{currency}: two cards in one file" for currency in dict.fromkeys(currencies) if currencies.count(currency) > 1]
    if found:
        raise CatalogueError(f"{path}: {'; '.join(found)}")
    return cards


def offers(models: Models) -> dict[str, Offer]:
    """What each model can be asked for, as the price book counts it."""
    return {
        limits.name: Offer(
            resolutions=resolution_classes(limits), tiers=get_args(Tier), tasks=tasks(limits), fps=limits.fps, audio=limits.audio
        )
        for limits in models.by_name().values()
    }


def load_plans(folder: str) -> Catalogue:
    """Reads plans.toml of `folder`, empty for the packaged catalogue.

    Raises CatalogueError, also for seconds of a class that no price in their currency lets anybody use.
    """
    path = file_of(folder, "plans.toml")
    found = _parsed(path, read_catalogue)
    classes = {card.currency: _classes(card) for card in load_prices(folder)}
    for offer in (*found.plans, *found.packs):
        if isinstance(offer, ContractPlan):
            continue
        usable = set[str]().union(*classes.values()) if isinstance(offer, FreePlan) else classes.get(offer.currency, set[str]())
        if offer.seconds_class not in usable:
            raise CatalogueError(f"{path}: {offer.name}: no price uses seconds of the class {offer.seconds_class}")
    return found


def _classes(card: RateCard) -> set[str]:
    return {name for rates in card.models.values() for name in rates.seconds_class.values()}


def load_sellers(folder: str) -> Sellers:
    """Reads sellers.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    return _parsed(file_of(folder, "sellers.toml"), read_sellers)


def _parsed(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, BillingError) as error:
        raise CatalogueError(f"{path}: {error}") from error
