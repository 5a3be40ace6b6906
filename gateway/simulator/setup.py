"""What is simulated: a fleet, the jobs that arrive, what befalls the fleet, and how the world differs from the catalogue."""

import csv
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec

from gateway.fleet.chips import Chips, fleet_of
from gateway.fleet.policy.model import Fleet, ReplicaSpec
from gateway.video import Tier

DEFAULT_FLEET = Path(__file__).with_name("fleet.toml")
EACH = 32
Row = TypeVar("Row", bound=msgspec.Struct)
What = Literal["pool_loss", "pool_back", "join", "slowdown", "failures", "drain"]


class SetupError(Exception):
    """A file of a simulation is missing or wrong; the sentence names the file and the line."""


class Arrival(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request: a line of --trace."""

    arrival_s: float
    organization: str
    model: str
    resolution: str
    seconds: float
    tier: Tier


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of --events. `value`: the share of the pool's replicas that are lost, come back or are drained; the number that
    join; the factor on run times; the probability that an attempt fails. `pool` may be * for slowdown and failures.
    """

    at_s: float
    event: What
    pool: str
    value: float


class PoolRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pool of --fleet. `models`: it serves these and loads no others; empty: it loads what is wanted."""

    accelerator: str
    count: int
    slots: int = 1
    price_micro_usd_per_hour: int | None = None
    models: tuple[str, ...] = ()


class World(msgspec.Struct, frozen=True):
    """How reality differs from the catalogue. `noise`: spread of ln(run time); `bias`: spread of ln(true speed / catalogue), one
    value for each class and pool, unknown to the scheduler; `failures`: the probability that an attempt fails.
    """

    noise: float = 0.08
    bias: float = 0.0
    failures: float = 0.0


class Setup(msgspec.Struct, frozen=True):
    fleet: Fleet
    replicas: tuple[ReplicaSpec, ...]
    arrivals: tuple[Arrival, ...]
    events: tuple[Event, ...] = ()
    world: World = World()


def read_fleet(path: Path, chips: Chips) -> tuple[Fleet, tuple[ReplicaSpec, ...]]:
    """The tables of the scheduler and the replicas, nothing loaded yet. Raises SetupError."""
    try:
        rows = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")).get("pools", []), list[PoolRow])
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise SetupError(f"{path}: {error}") from error
    known = {one.name: one for one in chips.accelerators}
    prices: dict[str, int] = {}
    replicas: list[ReplicaSpec] = []
    for row in rows:
        if row.accelerator not in known:
            raise SetupError(f"{path}: accelerators.toml has no accelerator {row.accelerator}")
        price = row.price_micro_usd_per_hour or known[row.accelerator].price_micro_usd_per_hour
        if price is None or price <= 0 or row.count < 1 or row.slots < 1:
            raise SetupError(
                f"{path}: pool {row.accelerator}: needs a price above 0, here or in accelerators.toml, and a count and slots"
            )
        if prices.setdefault(row.accelerator, price) != price:
            raise SetupError(f"{path}: pool {row.accelerator}: one accelerator has one price")
        start = sum(one.pool == row.accelerator for one in replicas)
        replicas += [
            ReplicaSpec(f"{row.accelerator}-{start + n}", row.accelerator, row.slots, row.models, loads=not row.models)
            for n in range(row.count)
        ]
    if not replicas:
        raise SetupError(f"{path}: needs at least one [[pools]]")
    return fleet_of(chips, prices), tuple(replicas)


def fleet_for(catalogue: Path | None, chips: Chips) -> tuple[Fleet, tuple[ReplicaSpec, ...], str]:
    """Where nobody has said which fleet: fleet.toml of the catalogue's folder, else the packaged one if the catalogue has its
    chips, else as many of every chip that has a price. Says which. Raises SetupError.
    """
    own = None if catalogue is None else catalogue / "fleet.toml"
    if own is not None and own.exists():
        return *read_fleet(own, chips), str(own)
    known = {one.name for one in chips.accelerators}
    packaged = tomllib.loads(DEFAULT_FLEET.read_text(encoding="utf-8"))["pools"]
    if all(pool["accelerator"] in known for pool in packaged):
        return *read_fleet(DEFAULT_FLEET, chips), "the packaged fleet of 208 chips"
    prices = {one.name: one.price_micro_usd_per_hour for one in chips.accelerators if one.price_micro_usd_per_hour}
    if not prices:
        raise SetupError("no accelerator of the catalogue has a price: give one, or a --fleet")
    replicas = tuple(ReplicaSpec(f"{name}-{n}", name) for name in prices for n in range(EACH))
    return fleet_of(chips, prices), replicas, f"{EACH} each of {', '.join(prices)}"


def read_trace(path: Path, fleet: Fleet) -> tuple[Arrival, ...]:
    """Arrivals in the order of their time. Raises SetupError, naming the line, also for a model that no chip of the fleet
    runs.
    """
    arrivals = _read(path, Arrival)
    for number, one in enumerate(arrivals, 2):
        if (one.model, one.resolution) not in fleet.class_index:
            raise SetupError(
                f"{path}: line {number}: no accelerator of the fleet has a speed for {one.model} at {one.resolution}"
            )
        if not (0 < one.seconds <= 120 and one.arrival_s >= 0):
            raise SetupError(f"{path}: line {number}: seconds must lie between 0 and 120 and arrival_s must not be negative")
    return tuple(sorted(arrivals, key=lambda one: one.arrival_s))


def read_events(path: Path, fleet: Fleet) -> tuple[Event, ...]:
    """Raises SetupError, naming the line."""
    events = _read(path, Event)
    for number, one in enumerate(events, 2):
        every = one.pool == "*" and one.event in ("slowdown", "failures")
        if not every and one.pool not in fleet.pool_index:
            raise SetupError(f"{path}: line {number}: the fleet has no pool {one.pool}; {', '.join(get_args(What))} name one")
        if one.at_s < 0 or one.value < 0 or (one.event == "slowdown" and one.value == 0):
            raise SetupError(f"{path}: line {number}: at_s and value must not be negative, nor a slowdown 0")
    return tuple(sorted(events, key=lambda one: one.at_s))


def _read(path: Path, kind: type[Row]) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, skipinitialspace=True)
            missing = set(kind.__struct_fields__) - set(lines.fieldnames or ())
            if missing:
                raise SetupError(f"{path}: the first line must name the columns {', '.join(kind.__struct_fields__)}")
            rows: list[Row] = []
            for number, line in enumerate(lines, 2):
                try:
                    rows.append(msgspec.convert(line, kind, strict=False))
                except msgspec.ValidationError as error:
                    raise SetupError(f"{path}: line {number}: {error}") from error
            return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"{path}: {error}") from error


def preloaded(fleet: Fleet, replicas: Sequence[ReplicaSpec], wanted: Sequence[Sequence[float]]) -> tuple[ReplicaSpec, ...]:
    """Each pool's replicas with one model each, in the proportions of `wanted[m][a]`; a fleet does not begin the day empty."""
    made: list[ReplicaSpec] = []
    given = [[0.0] * len(fleet.pools) for _ in fleet.models]
    for replica in replicas:
        a, spec = fleet.pool_index[replica.pool], replica
        fits = [m for m in range(len(fleet.models)) if fleet.runs(m, a)]
        if replica.loads and not replica.loaded and fits:
            m = max(fits, key=lambda m: (wanted[m][a] - given[m][a], -m))
            given[m][a] += replica.slots
            spec = msgspec.structs.replace(replica, loaded=(fleet.models[m].name,))
        made.append(spec)
    return tuple(made)
