"""The catalogue: which models there are and what they cost, from files that say so in one place."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import msgspec

from billing.errors import BillingError, RateCardInvalid
from billing.plans.catalogue import read_catalogue
from billing.plans.model import Catalogue
from billing.plans.sellers import Sellers, read_sellers
from billing.pricing.check import problems, read_card
from billing.pricing.model import Offer, RateCard
from gateway.video import SECONDS_MAX, ModelLimits, Tier, resolution_classes, tasks

File = TypeVar("File", bound=msgspec.Struct)
Parsed = TypeVar("Parsed")

PACKAGED = Path(__file__).parents[2] / "deploy" / "catalogue"


class CatalogueError(Exception):
    """A catalogue file is missing or wrong; the sentence names the file and the entry."""


class ModelRow(ModelLimits, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of models.toml: what can be asked for, and what the model takes on a device.

    `like`: the model whose speeds it has where speeds.toml has none of its own. Not `offered`: known to the scheduler alone.
    """

    memory_gib: int
    load_s: float
    licence: str
    like: str = ""
    offered: bool = True


class Models(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """models.toml; `default_model` serves clients that name none."""

    default_model: str
    models: tuple[ModelRow, ...]

    def by_name(self) -> dict[str, ModelLimits]:
        """Those that can be asked for."""
        return {model.name: model for model in self.models if model.offered}


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """prices.toml."""

    cards: tuple[object, ...]


def load_models(folder: str) -> Models:
    """Reads models.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    path = _path(folder, "models.toml")
    table = read_table(path)
    rows = read_rows(path, table, "models", ModelRow, ("name",))
    for row in rows:
        where = f"{path}: models {row.name}"
        if not 0 < row.seconds_min <= row.seconds_default <= row.seconds_max <= SECONDS_MAX:
            raise CatalogueError(
                f"{where}: seconds_min, seconds_default and seconds_max must rise, from above 0 to at most {SECONDS_MAX}"
            )
        if row.memory_gib <= 0 or row.load_s < 0:
            raise CatalogueError(f"{where}: memory_gib must be positive and load_s must not be negative")
    try:
        models = msgspec.convert({**table, "models": rows}, Models)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{path}: {error}") from error
    if models.default_model not in models.by_name():
        raise CatalogueError(f"{path}: default_model {models.default_model!r} must be one of the models that are offered")
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


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file. Raises CatalogueError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path}: {error}") from error


def read_rows(path: Path, table: Mapping[str, Any], name: str, kind: type[File], key: tuple[str, ...]) -> tuple[File, ...]:
    """The rows of one array of tables, each named in errors by its `key` fields, which must differ. Raises CatalogueError."""
    raw = table.get(name, [])
    if not isinstance(raw, list) or not raw:
        raise CatalogueError(f"{path}: needs at least one [[{name}]]")
    rows: dict[str, File] = {}
    for number, one in enumerate(cast(list[Any], raw), 1):
        fields = cast(dict[str, Any], one) if isinstance(one, dict) else {}
        label = " × ".join(str(fields[field]) for field in key if field in fields) or f"number {number}"
        try:
            row = msgspec.convert(one, kind)
        except msgspec.ValidationError as error:
            raise CatalogueError(f"{path}: {name} {label}: {error}") from error
        if label in rows:
            raise CatalogueError(f"{path}: {name} {label}: is listed twice")
        rows[label] = row
    return tuple(rows.values())


def _path(folder: str, name: str) -> Path:
    return (Path(folder) if folder else PACKAGED) / name
