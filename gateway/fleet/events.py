"""What happens to the fleet, as a scheduler is told it: plain values, in the order in which they happened."""

import msgspec


class Joined(msgspec.Struct, frozen=True):
    """A replica may be given work for the first time since it was declared, or is another one now under its old name."""

    name: str
    accelerator: str
    price_micro_usd_per_hour: int | None
    slots: int
    models: tuple[str, ...]
    loaded: tuple[str, ...]
    loads: bool
    models_max: int


class Changed(Joined, frozen=True):
    """The same replica has other figures; what runs on it goes on."""


class Cordoned(msgspec.Struct, frozen=True):
    """No more work until it is uncordoned: an operator, a quarantine, or it does not answer. What runs may end."""

    name: str
    reason: str


class Uncordoned(msgspec.Struct, frozen=True):
    name: str


class Draining(msgspec.Struct, frozen=True):
    """No more work, and it is not expected back. What runs may end."""

    name: str


class Left(msgspec.Struct, frozen=True):
    """Nothing runs on it any more, and it is forgotten."""

    name: str


class Loading(msgspec.Struct, frozen=True):
    name: str
    model: str


class Loaded(msgspec.Struct, frozen=True):
    """On request, or found there."""

    name: str
    model: str


class LoadFailed(msgspec.Struct, frozen=True):
    name: str
    model: str
    reason: str


class Unloading(msgspec.Struct, frozen=True):
    name: str
    model: str


class Unloaded(msgspec.Struct, frozen=True):
    """On request, or no longer there."""

    name: str
    model: str


class BreakerOpened(msgspec.Struct, frozen=True):
    """Too many failures: no work for this model here for a while, then one job at a time until one succeeds."""

    name: str
    model: str


class BreakerClosed(msgspec.Struct, frozen=True):
    name: str
    model: str


FleetEvent = (
    Joined
    | Changed
    | Cordoned
    | Uncordoned
    | Draining
    | Left
    | Loading
    | Loaded
    | LoadFailed
    | Unloading
    | Unloaded
    | BreakerOpened
    | BreakerClosed
)
