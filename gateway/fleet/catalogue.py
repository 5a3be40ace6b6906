"""The catalogue: which models there are, and how its files are read. What is sold: offers.py; what jobs run on: chips.py."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from gateway.video import SECONDS_MAX, ModelLimits

File = TypeVar("File", bound=msgspec.Struct)

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


def load_models(folder: str) -> Models:
    """Reads models.toml of `folder`, empty for the packaged catalogue. Raises CatalogueError."""
    path = file_of(folder, "models.toml")
    models = read_models(path)
    check_models(path, models)
    return models


def read_models(path: Path) -> Models:
    """As it is written. Raises CatalogueError for what cannot be a row."""
    table = read_table(path)
    rows = read_rows(path, table, "models", ModelRow, ("name",))
    try:
        return msgspec.convert({**table, "models": rows}, Models)
    except msgspec.ValidationError as error:
        raise CatalogueError(f"{path}: {error}") from error


def check_models(path: Path, models: Models) -> None:
    """Raises CatalogueError for a row that contradicts itself, or a default that nobody can ask for."""
    for row in models.models:
        where = f"{path}: models {row.name}"
        if not 0 < row.seconds_min <= row.seconds_default <= row.seconds_max <= SECONDS_MAX:
            raise CatalogueError(
                f"{where}: seconds_min, seconds_default and seconds_max must rise, from above 0 to at most {SECONDS_MAX}"
            )
        if row.memory_gib <= 0 or row.load_s < 0:
            raise CatalogueError(f"{where}: memory_gib must be positive and load_s must not be negative")
    if models.default_model not in models.by_name():
        raise CatalogueError(f"{path}: default_model {models.default_model!r} must be one of the models that are offered")


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


def file_of(folder: str, name: str) -> Path:
    """A file of `folder`, empty for the packaged catalogue."""
    return (Path(folder) if folder else PACKAGED) / name
