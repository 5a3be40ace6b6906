"""A fleet of unequal chips on one machine: the test card under several names, each server with a pace and a price of its own."""

import json
import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.fleet.catalogue import PACKAGED
from gateway.local.triton import BUNDLED_MODELS

MODEL = "testcard"
RESOLUTIONS = ("480p", "720p", "1080p")
_CONFIG = BUNDLED_MODELS / MODEL / "config.pbtxt"
_PACE, _COUNT = 'key: "pace_s_per_s", value: { string_value: "0" }', "count: 2"

MODELS: Mapping[str, tuple[float, str]] = {
    MODEL: (1.0, ""),
    "testcard-draft": (0.4, "Test card as a small, quick model would make it. Not a generative model."),
    "testcard-feature": (3.0, "Test card as a large, slow model would make it. Not a generative model."),
}
"""Compute seconds per generated second on a chip of speed 1, and a title."""


class Chip(msgspec.Struct, frozen=True, kw_only=True):
    """A server of the demo fleet; `loaded` at the start, `models_max` at a time."""

    name: str
    accelerator: str
    price_micro_usd_per_hour: int
    speed: float
    models: tuple[str, ...]
    loaded: tuple[str, ...]
    models_max: int
    slots: int = 1


DEMO = (
    Chip(
        name="swift", accelerator="h100", price_micro_usd_per_hour=2_700_000, speed=4.0,
        models=("testcard", "testcard-feature"), loaded=("testcard", "testcard-feature"), models_max=2,
    ),
    Chip(
        name="steady", accelerator="l40s", price_micro_usd_per_hour=1_100_000, speed=1.5,
        models=("testcard", "testcard-draft", "testcard-feature"), loaded=("testcard",), models_max=1,
    ),
    Chip(
        name="thrifty", accelerator="rtx4090", price_micro_usd_per_hour=470_000, speed=1.0,
        models=("testcard", "testcard-draft"), loaded=("testcard-draft",), models_max=2,
    ),
)  # fmt: skip


def write_repository(folder: Path, paces: Mapping[str, float], *, instances: int = 1) -> Path:
    """A model repository with the test card under each name, at that many compute seconds per generated second.

    Written again with other paces, a server takes them over when it loads the model again.
    """
    config = _CONFIG.read_text(encoding="utf-8")
    assert _PACE in config
    assert _COUNT in config
    for name, pace in paces.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        code = folder / name / "1"
        if not code.is_symlink():
            code.symlink_to(BUNDLED_MODELS / MODEL / "1")
        ours = config.replace(_PACE, _PACE.replace('"0"', f'"{pace:g}"')).replace(_COUNT, f"count: {instances}")
        beside = folder / name / ".config.pbtxt"
        beside.write_text(ours, encoding="utf-8")
        beside.replace(folder / name / "config.pbtxt")
    return folder


def chip_paces(chip: Chip) -> dict[str, float]:
    """How fast each of its models is on it."""
    return {model: MODELS[model][0] / chip.speed for model in chip.models}


def write_catalogue(folder: Path) -> Path:
    """The packaged catalogue, with a row and a price for each model of the demo like those of the test card, and their paces."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in PACKAGED.glob("*.toml"):
        shutil.copyfile(file, folder / file.name)
    models: dict[str, Any] = tomllib.loads((PACKAGED / "models.toml").read_text(encoding="utf-8"))
    (card,) = [row for row in models["models"] if row["name"] == MODEL]
    titles = {name: title for name, (_, title) in MODELS.items() if title}
    models["models"] += [
        {**card, "name": name, "triton_model": name, "title": title, "like": MODEL} for name, title in titles.items()
    ]
    speeds: dict[str, Any] = tomllib.loads((PACKAGED / "speeds.toml").read_text(encoding="utf-8"))
    speeds["speeds"] += [_speed(chip, model, resolution) for chip in DEMO for model in chip.models for resolution in RESOLUTIONS]
    prices: dict[str, Any] = tomllib.loads((PACKAGED / "prices.toml").read_text(encoding="utf-8"))
    for one in prices["cards"]:
        one["models"] |= dict.fromkeys(titles, one["models"][MODEL])
    for name, table in (("models.toml", models), ("speeds.toml", speeds), ("prices.toml", prices)):
        lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
        (folder / name).write_text(os.linesep.join([*lines, ""]), encoding="utf-8")
    return folder


def _speed(chip: Chip, model: str, resolution: str) -> dict[str, Any]:
    return {
        "model": model,
        "accelerator": chip.accelerator,
        "resolution": resolution,
        "seconds_per_second": chip_paces(chip)[model],
        "provenance": "estimated",
        "source": "the pace it is told to keep",
    }


def _toml(value: Any) -> str:  # noqa: ANN401 – whatever a TOML file held
    """As an inline value: JSON but for the tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in cast("dict[str, Any]", value).items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, cast("list[Any]", value))) + "]"
    return json.dumps(value, ensure_ascii=False)
