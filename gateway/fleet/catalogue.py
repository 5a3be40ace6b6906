"""The catalogue: which models there are and what they cost, from files that say so in one place."""

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from billing.pricing.model import RateCard
from gateway.video import ModelLimits

File = TypeVar("File", bound=msgspec.Struct)

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

    cards: tuple[RateCard, ...]


def load_models(folder: str) -> Models:
    """Reads models.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    models = _read(folder, "models.toml", Models)
    names = [model.name for model in models.models]
    if len(set(names)) != len(names) or models.default_model not in names:
        raise CatalogueError("models.toml: names must differ and default_model must be one of them")
    return models


def load_prices(folder: str) -> tuple[RateCard, ...]:
    """Reads prices.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    return _read(folder, "prices.toml", Prices).cards


def _read(folder: str, name: str, kind: type[File]) -> File:
    path = (Path(folder) if folder else PACKAGED) / name
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise CatalogueError(f"{path}: {error}") from error
