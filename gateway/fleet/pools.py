"""The fleet as the scheduler's tables: replicas that are alike in all that matters to it are one pool. Pure."""

from collections.abc import Sequence
from statistics import median

import msgspec

from gateway.fleet.chips import GUESS_FACTOR, GUESS_SIGMA, SIGMA, Accelerator, Chips, Speed
from gateway.fleet.policy.model import Fleet, ModelSpec, PoolSpec, SpeedSpec
from gateway.fleet.registry.model import ReplicaRow

_PIXELS = {"480p": 854 * 480, "720p": 1280 * 720, "1080p": 1920 * 1080}
_PIXELS_EXPONENT = 1.45
"""Run times of diffusion models grow faster than pictures; from Wan's own table."""


class Kind(msgspec.Struct, frozen=True):
    """What makes replicas alike: their chip, its price, and the models they may hold."""

    accelerator: str
    price_micro_usd_per_hour: int
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.accelerator} at {self.price_micro_usd_per_hour} with {', '.join(self.models)}"


def price_of(chips: Chips, accelerator: str, own: int | None) -> int | None:
    """USD micro-units an hour: a replica's own price, else the catalogue's; None: nobody has said one."""
    if own is not None:
        return own
    return next((one.price_micro_usd_per_hour for one in chips.accelerators if one.name == accelerator), None)


def fit(chips: Chips, row: ReplicaRow) -> tuple[tuple[str, ...], str]:
    """The models that a replica may hold, and why it is to be given no work; empty: it is."""
    memory = {model.name: model.memory_gib for model in chips.models}
    chip = next((one for one in chips.accelerators if one.name == row.accelerator), None)
    known = [model for model in row.models if model in memory]
    models = tuple(model for model in known if chip is None or memory[model] <= chip.memory_gib)
    if not known:
        return (), f"the catalogue has no model {', '.join(row.models)}"
    if chip is not None and not models:
        return (), f"no model fits: {known[0]} needs {memory[known[0]]} GiB, and {chip.name} has {chip.memory_gib}"
    if price_of(chips, row.accelerator, row.price_micro_usd_per_hour) is None:
        return models, f"nobody has said what an hour of {row.accelerator} costs: give the replica or the accelerator a price"
    return models, ""


def kind_of(chips: Chips, row: ReplicaRow, models: Sequence[str]) -> Kind | None:
    """Of a replica that may hold these models; None where it is to be given no work."""
    price = price_of(chips, row.accelerator, row.price_micro_usd_per_hour)
    return Kind(row.accelerator, price, tuple(sorted(models))) if models and price is not None else None


def tables(chips: Chips, kinds: Sequence[Kind]) -> Fleet:
    """A pool for each kind. A model has a speed in every resolution wherever it may run: the catalogue's, or else an estimate."""
    wanted = {model for kind in kinds for model in kind.models}
    models = [model for model in chips.models if model.name in wanted]
    accelerators = {one.name: one for one in chips.accelerators}
    memory = {model.name: model.memory_gib for model in models}
    pools = [
        PoolSpec(kind.name, _memory(accelerators.get(kind.accelerator), kind, memory), kind.price_micro_usd_per_hour)
        for kind in kinds
    ]
    rows: dict[str, list[Speed]] = {}
    for speed in chips.speeds:
        rows.setdefault(speed.model, []).append(speed)
    speeds = [
        _speed(rows[model], kind, model, resolution, accelerators.get(kind.accelerator))
        for kind in kinds
        for model in kind.models
        for resolution in _PIXELS
    ]
    return Fleet([ModelSpec(model.name, model.memory_gib, model.load_s) for model in models], pools, speeds)


def _memory(chip: Accelerator | None, kind: Kind, memory: dict[str, int]) -> int:
    """Of a chip that the catalogue does not know, enough for what its replicas say they may hold."""
    return chip.memory_gib if chip is not None else sum(memory[model] for model in kind.models)


def _speed(rows: Sequence[Speed], kind: Kind, model: str, resolution: str, chip: Accelerator | None) -> SpeedSpec:
    """The catalogue's figure; else from the same chip at another size; else a guess from other chips, which must be proved."""
    ours = [row for row in rows if row.accelerator == kind.accelerator]
    exact = next((row for row in ours if row.resolution == resolution), None)
    if exact is not None:
        return SpeedSpec(
            model, resolution, kind.name, exact.seconds_per_second, exact.overhead_s, SIGMA[exact.provenance], trusted=True
        )
    known = ours if chip is not None and ours else rows
    figures = [row.seconds_per_second * (_PIXELS[resolution] / _PIXELS[row.resolution]) ** _PIXELS_EXPONENT for row in known]
    if known is ours:
        return SpeedSpec(model, resolution, kind.name, median(figures), 0.0, SIGMA["estimated"], trusted=True)
    return SpeedSpec(model, resolution, kind.name, GUESS_FACTOR * median(figures), 0.0, GUESS_SIGMA, trusted=False)
