"""The catalogue: which models there are and what they cost, from files that say so in one place."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

import msgspec

from billing.errors import BillingError, RateCardInvalid
from billing.plans.catalogue import read_catalogue
from billing.plans.model import Catalogue
from billing.plans.sellers import Sellers, read_sellers
from billing.pricing.check import problems, read_card
from billing.pricing.model import Offer, RateCard
from gateway.video import ModelLimits, Tier, resolution_classes, tasks

File = TypeVar("File", bound=msgspec.Struct)
Parsed = TypeVar("Parsed")

PACKAGED = Path(__file__).parents[2] / "deploy" / "catalogue"


class CatalogueError(Exception):
    """A catalogue file is missing or wrong; the sentence names the file and the entry."""


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """models.toml; `default_model` serves clients that name none."""

    default_model: str
    models: tuple[ModelLimits, ...]

    def by_name(self) -> dict[str, ModelLimits]:
        return {model.name: model for model in self.models}


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """prices.toml."""

    cards: tuple[object, ...]


def load_models(folder: str) -> Models:
    """Reads models.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    models = _read(_path(folder, "models.toml"), Models)
    names = [model.name for model in models.models]
    if len(set(names)) != len(names) or models.default_model not in names:
        raise CatalogueError("models.toml: names must differ and default_model must be one of them")
    return models


def load_prices(folder: str) -> tuple[RateCard, ...]:
    """Reads prices.toml of `folder`, empty for the packaged catalogue: a whole list in each of its currencies.

    Raises CatalogueError, also for what models.toml offers and a card has no price for.
    """
    return read_prices(_path(folder, "prices.toml"), folder, whole=True)


def read_prices(path: Path, folder: str, *, whole: bool) -> tuple[RateCard, ...]:
    """Reads cards from any file and checks them against models.toml of `folder`; only a `whole` list must name every model.

    Raises CatalogueError naming all that is wrong.
    """
    try:
        cards = tuple(read_card(raw) for raw in _read(path, Prices).cards)
    except RateCardInvalid as error:
        raise CatalogueError(f"{path}: {error.detail}") from error
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
        for limits in models.models
    }


def load_plans(folder: str) -> Catalogue:
    """Reads plans.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    return _parsed(_path(folder, "plans.toml"), read_catalogue)


def load_sellers(folder: str) -> Sellers:
    """Reads sellers.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    return _parsed(_path(folder, "sellers.toml"), read_sellers)


def _parsed(path: Path, parse: Callable[[str], Parsed]) -> Parsed:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, BillingError) as error:
        raise CatalogueError(f"{path}: {error}") from error


def _path(folder: str, name: str) -> Path:
    return (Path(folder) if folder else PACKAGED) / name


def _read(path: Path, kind: type[File]) -> File:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise CatalogueError(f"{path}: {error}") from error
