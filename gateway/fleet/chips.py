"""What jobs run on and how fast: accelerators.toml and speeds.toml, read together with the models and checked against them."""

from collections.abc import Collection, Mapping
from datetime import date
from math import inf, isfinite
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from gateway.fleet.catalogue import (
    PACKAGED,
    CatalogueError,
    ModelRow,
    Models,
    check_models,
    file_of,
    read_models,
    read_rows,
    read_table,
)
from gateway.fleet.policy.model import Fleet, ModelSpec, PoolSpec, SpeedSpec

Resolution = Literal["480p", "720p", "1080p"]
Provenance = Literal["measured", "published", "estimated"]

SIGMA: dict[Provenance, float] = {"measured": 0.08, "published": 0.15, "estimated": 0.3}
"""How far ln(actual / catalogue) may be expected to lie from 0."""
GUESS_SIGMA, GUESS_FACTOR = 0.7, 2.0
"""A chip nobody has timed is taken to be half as fast as the middle of those that were."""


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of accelerators.toml; see there."""

    name: str
    title: str
    vendor: str
    memory_gib: int
    price_micro_usd_per_hour: int | None = None
    price_low_micro_usd_per_hour: int | None = None
    price_high_micro_usd_per_hour: int | None = None
    price_source: str = ""
    price_date: date | None = None
    calibrated: bool = True


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of speeds.toml; see there."""

    model: str
    accelerator: str
    resolution: Resolution
    seconds_per_second: float
    provenance: Provenance
    source: str
    overhead_s: float = 0.0
    low: float | None = None
    high: float | None = None
    note: str = ""


class Catalogue(Models, frozen=True, forbid_unknown_fields=True):
    """models.toml, accelerators.toml and speeds.toml as they are written."""

    accelerators: tuple[Accelerator, ...]
    speeds: tuple[Speed, ...]


class Chips(msgspec.Struct, frozen=True):
    """The whole catalogue but for prices of videos. `speeds` also holds the rows that models have through `like`."""

    models: tuple[ModelRow, ...]
    accelerators: tuple[Accelerator, ...]
    speeds: tuple[Speed, ...]


def load_chips(folder: str) -> Chips:
    """Reads models.toml, accelerators.toml and speeds.toml of `folder`, empty for the packaged ones. Raises CatalogueError."""
    return chips_of(read_catalogue(folder), Path(folder) if folder else PACKAGED)


def read_catalogue(folder: str) -> Catalogue:
    """The three files of `folder`, empty for the packaged ones, row by row. Raises CatalogueError; `chips_of` checks the rest."""
    models, path = read_models(file_of(folder, "models.toml")), file_of(folder, "accelerators.toml")
    accelerators = read_rows(path, read_table(path), "accelerators", Accelerator, ("name",))
    path = file_of(folder, "speeds.toml")
    speeds = read_rows(path, read_table(path), "speeds", Speed, ("model", "accelerator", "resolution"))
    return Catalogue(models.default_model, models.models, accelerators, speeds)


def chips_of(catalogue: Catalogue, home: Path) -> Chips:
    """Checks every row against itself and the others. Raises CatalogueError naming the file in `home` and the row."""
    models, accelerators, speeds = catalogue.models, catalogue.accelerators, catalogue.speeds
    check_models(home / "models.toml", catalogue)
    if not accelerators:
        raise CatalogueError(f"{home / 'accelerators.toml'}: needs at least one [[accelerators]]")
    for one in accelerators:
        _check_accelerator(home / "accelerators.toml", one)
    _check_memory(home / "models.toml", models, accelerators)
    by_model = {model.name: model for model in models}
    by_name = {one.name: one for one in accelerators}
    for speed in speeds:
        _check_speed(home / "speeds.toml", speed, by_model, by_name)
    speeds += _inherited(home / "models.toml", by_model, speeds)
    untimed = [model.name for model in models if model.name not in {one.model for one in speeds}]
    if untimed:
        raise CatalogueError(f"{home / 'speeds.toml'}: the model {untimed[0]} has no speed on any accelerator")
    return Chips(models, accelerators, speeds)


def fleet_of(chips: Chips, prices: Mapping[str, int], models: Collection[str] = ()) -> Fleet:
    """The tables of the scheduler for the accelerators in `prices` (USD micro-units an hour) and these models (none: all).

    A chip that is not calibrated gets a guess for every model that fits and has no row.
    """
    names = [model for model in chips.models if not models or model.name in models]
    used = [one for one in chips.accelerators if one.name in prices]
    known = {model.name for model in names}
    speeds = [
        SpeedSpec(
            one.model,
            one.resolution,
            one.accelerator,
            one.seconds_per_second,
            one.overhead_s,
            SIGMA[one.provenance],
            trusted=True,
        )
        for one in chips.speeds
        if one.accelerator in prices and one.model in known
    ]
    have = {(one.model, one.resolution, one.pool) for one in speeds}
    for accelerator in used:
        if not accelerator.calibrated:
            speeds += [one for one in _guesses(chips, accelerator, known) if (one.model, one.resolution, one.pool) not in have]
    return Fleet(
        [ModelSpec(model.name, model.memory_gib, model.load_s) for model in names],
        [PoolSpec(one.name, one.memory_gib, prices[one.name]) for one in used],
        speeds,
    )


def _guesses(chips: Chips, accelerator: Accelerator, models: Collection[str]) -> list[SpeedSpec]:
    times: dict[tuple[str, str], list[float]] = {}
    memory = {model.name: model.memory_gib for model in chips.models}
    for one in chips.speeds:
        if one.model in models and memory[one.model] <= accelerator.memory_gib:
            times.setdefault((one.model, one.resolution), []).append(one.seconds_per_second)
    return [
        SpeedSpec(model, resolution, accelerator.name, GUESS_FACTOR * median(found), 0.0, GUESS_SIGMA, trusted=False)
        for (model, resolution), found in times.items()
    ]


def _check_accelerator(path: Path, one: Accelerator) -> None:
    where = f"{path}: accelerators {one.name}"
    low, price, high = one.price_low_micro_usd_per_hour, one.price_micro_usd_per_hour, one.price_high_micro_usd_per_hour
    if one.memory_gib <= 0:
        raise CatalogueError(f"{where}: memory_gib must be positive")
    if any(figure is not None and figure <= 0 for figure in (low, price, high)):
        raise CatalogueError(f"{where}: a price must be positive; leave it out if it is not known")
    if price is not None and not (low or price) <= price <= (high or price):
        raise CatalogueError(f"{where}: price_micro_usd_per_hour must lie between its low and its high")
    if price is not None and not (one.price_source and one.price_date):
        raise CatalogueError(f"{where}: a price needs price_source and price_date")


def _check_speed(path: Path, one: Speed, models: Mapping[str, ModelRow], accelerators: Mapping[str, Accelerator]) -> None:
    where = f"{path}: speeds {one.model} × {one.accelerator} × {one.resolution}"
    if one.model not in models:
        raise CatalogueError(f"{where}: models.toml has no model {one.model}")
    if one.accelerator not in accelerators:
        raise CatalogueError(f"{where}: accelerators.toml has no accelerator {one.accelerator}")
    if not (0 < one.seconds_per_second < inf and isfinite(one.overhead_s) and one.overhead_s >= 0):
        raise CatalogueError(f"{where}: seconds_per_second must be positive and overhead_s not negative")
    if not (one.low or one.seconds_per_second) <= one.seconds_per_second <= (one.high or one.seconds_per_second):
        raise CatalogueError(f"{where}: seconds_per_second must lie between low and high")
    if models[one.model].memory_gib > accelerators[one.accelerator].memory_gib:
        raise CatalogueError(
            f"{where}: the model needs {models[one.model].memory_gib} GiB and the accelerator has "
            f"{accelerators[one.accelerator].memory_gib}"
        )
    if not one.source:
        raise CatalogueError(f"{where}: source must say where the figure is from")


def _inherited(path: Path, models: Mapping[str, ModelRow], speeds: tuple[Speed, ...]) -> tuple[Speed, ...]:
    """Rows that a model has because it is `like` another, which may again be like another."""
    own: dict[str, list[Speed]] = {}
    for one in speeds:
        own.setdefault(one.model, []).append(one)
    made: list[Speed] = []
    for model in models.values():
        chain, have = [model.name], {(one.accelerator, one.resolution) for one in own.get(model.name, [])}
        while (base := models[chain[-1]].like) != "":
            if base not in models:
                raise CatalogueError(f"{path}: models {chain[-1]}: is like {base}, which is no model")
            if base in chain:
                raise CatalogueError(f"{path}: models {model.name}: goes in a circle: {' → '.join([*chain, base])}")
            chain.append(base)
            for one in own.get(base, []):
                if (one.accelerator, one.resolution) not in have:
                    have.add((one.accelerator, one.resolution))
                    made.append(
                        msgspec.structs.replace(
                            one, model=model.name, provenance="estimated", source=f"like {base}: {one.source}"
                        )
                    )
    return tuple(made)


def _check_memory(path: Path, models: tuple[ModelRow, ...], accelerators: tuple[Accelerator, ...]) -> None:
    largest = max(one.memory_gib for one in accelerators)
    for model in models:
        if model.memory_gib > largest:
            raise CatalogueError(
                f"{path}: models {model.name}: needs {model.memory_gib} GiB, and no accelerator has more than {largest}"
            )
