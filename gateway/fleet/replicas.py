"""The fleet as one dispatcher knows it: what may be given to whom, and every change of that as an event. Pure.

The attendant tells it what the registry and the servers say, the dispatcher what it starts and how that ends, and both what time
it is (monotonic seconds).
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.fleet import events
from gateway.fleet.breaker import Breaker
from gateway.fleet.registry.model import ReplicaRow, Sight

Standing = Literal["new", "up", "cordoned", "draining"]
Fit: TypeAlias = Callable[[ReplicaRow], tuple[tuple[str, ...], str]]
"""The models that a replica may hold, and why it is to be given no work; empty: it is (pools.fit)."""


class Replica:
    """One Triton server: what is declared of it, what it was seen to have, and what runs on it."""

    def __init__(self, row: ReplicaRow, fit: Fit) -> None:
        self.row = row
        self.models, self.unfit = fit(row)
        """What it may hold, and what the catalogue has against it."""
        self.trouble = "has not been asked yet"
        """Why it cannot be reached; empty: it answers."""
        self.loaded: set[str] = set()
        self.unloading: set[str] = set()
        self.loading = ""
        self.swapping = False
        self.leaving = False
        self.standing: Standing = "new"
        self.running: dict[str, int] = {}
        self.breakers: dict[str, Breaker] = {}

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def busy(self) -> int:
        return sum(self.running.values())

    def reason(self) -> str:
        """Why it is given no work; empty: it is."""
        if self.row.quarantine_reason:
            return self.row.quarantine_reason
        if self.leaving:
            return "is being removed"
        if self.row.state != "active":
            return f"{self.row.state} by an operator"
        return self.unfit or self.trouble

    def condition(self, now: float) -> Sight:
        """What people are shown."""
        state = "quarantined" if self.row.quarantine_reason else "leaving" if self.leaving else self.row.state
        if state == "active":
            state = "down" if self.trouble else "cordoned" if self.reason() else "up"
        elif state == "draining" and not self.busy:
            state = "drained"
        broken = [model for model, breaker in self.breakers.items() if breaker.state(now) != "closed"]
        return Sight(self.name, state, self.reason(), tuple(sorted(self.loaded)), tuple(sorted(broken)), self.busy)

    def has(self, model: str, now: float) -> bool:
        """Whether it has the model, or is loading it, and may be given work for it sooner or later."""
        breaker = self.breakers.get(model)
        there = self.loading == model or (model in self.loaded and model not in self.unloading)
        return there and (breaker is None or breaker.state(now) == "closed")

    def free(self, model: str, now: float) -> int:
        """How many jobs of this model it may be given now."""
        if self.standing != "up" or model not in self.loaded or model in self.unloading or model not in self.models:
            return 0
        breaker = self.breakers.get(model)
        state = breaker.state(now) if breaker else "closed"
        room = max(self.row.slots - self.busy, 0)
        return {"closed": room, "half-open": min(room, 1), "open": 0}[state]


class Swap(msgspec.Struct, frozen=True):
    """Unload, then load."""

    name: str
    load: str
    unload: tuple[str, ...]


class Replicas:
    """All of them. `tell` is given each event."""

    def __init__(self, fit: Fit, *, pause_s: float, tell: Callable[[events.FleetEvent], None]) -> None:
        """`pause_s`: the first pause of a breaker."""
        self._fit, self._pause_s, self._tell = fit, pause_s, tell
        self.by_name: dict[str, Replica] = {}

    # -- what the registry says ------------------------------------------------------------------------------------------
    def follow(self, rows: Sequence[ReplicaRow]) -> None:
        """The registry is this. What runs goes on: a replica that is gone, or is another server now, leaves when it is idle."""
        for row in rows:
            known = self.by_name.get(row.name)
            if known is None:
                self.by_name[row.name] = Replica(row, self._fit)
                continue
            known.leaving = known.row.url != row.url
            if not known.leaving and known.row.version != row.version:
                self._figure(known, row)
        names = {row.name for row in rows}
        for known in list(self.by_name.values()):
            known.leaving = known.leaving or known.name not in names
            self._settle(known)

    def refit(self) -> None:
        """The catalogue is another one. What runs goes on, also on a replica that is now to be given no work."""
        for replica in list(self.by_name.values()):
            self._figure(replica, replica.row)
            self._settle(replica)

    def _figure(self, replica: Replica, row: ReplicaRow) -> None:
        before = _figures(replica)
        replica.row, (replica.models, replica.unfit) = row, self._fit(row)
        if replica.standing != "new" and _figures(replica) != before:
            self._tell(events.Changed(*_figures(replica)))

    def quarantine(self, replica: Replica, reason: str) -> None:
        """At once, before the registry says so too."""
        replica.row = msgspec.structs.replace(replica.row, quarantine_reason=reason, quarantined_by="dispatcher")
        self._settle(replica)

    # -- what the servers say --------------------------------------------------------------------------------------------
    def saw(self, replica: Replica, loaded: Collection[str], trouble: str = "") -> None:
        """An answer: the models that are ready. Or none, and why."""
        replica.trouble = trouble
        if not trouble:
            found = set(loaded) & set(replica.models)
            gone, come = replica.loaded - found, found - replica.loaded
            replica.loaded = found
            replica.unloading &= found
            if replica.standing != "new":
                for model in sorted(gone):
                    self._tell(events.Unloaded(replica.name, model))
                for model in sorted(come):
                    self._tell(events.Loaded(replica.name, model))
        self._settle(replica)

    # -- placement -------------------------------------------------------------------------------------------------------
    def begin(self, name: str, load: str, unload: Collection[str], now: float) -> Swap:
        """A swap begins. Raises LookupError where that cannot be, or must not be now."""
        replica = self.by_name.get(name)
        if replica is None or replica.standing != "up" or not replica.row.loads or replica.swapping or load not in replica.models:
            raise LookupError(f"{name} is not to load {load}")
        breaker = replica.breakers.get(load)
        busy = [model for model in unload if replica.running.get(model)]
        if busy or (breaker is not None and breaker.state(now) == "open"):
            raise LookupError(f"{name} cannot load {load} now")
        victims = tuple(model for model in unload if model in replica.loaded)
        replica.swapping, replica.loading = True, load
        replica.unloading |= set(victims)
        for victim in victims:
            self._tell(events.Unloading(name, victim))
        self._tell(events.Loading(name, load))
        return Swap(name, load, victims)

    def unloaded(self, replica: Replica, model: str) -> None:
        replica.unloading.discard(model)
        if model in replica.loaded:
            replica.loaded.remove(model)
            self._tell(events.Unloaded(replica.name, model))

    def swapped(self, replica: Replica, model: str, now: float, failure: str = "") -> None:
        """The swap has ended; a failure speaks against the model on this replica."""
        replica.swapping, replica.loading = False, ""
        replica.unloading.clear()
        if failure:
            self._tell(events.LoadFailed(replica.name, model, failure))
            self._blame(replica, model, now)
        elif model not in replica.loaded:
            replica.loaded.add(model)
            self._tell(events.Loaded(replica.name, model))
        self._settle(replica)

    # -- attempts --------------------------------------------------------------------------------------------------------
    def free(self, now: float) -> dict[str, int]:
        """Free slots by model, only models that have one; a slot for two models counts for both."""
        slots: dict[str, int] = {}
        for replica in self.by_name.values():
            for model in replica.loaded:
                slots[model] = slots.get(model, 0) + replica.free(model, now)
        return {model: count for model, count in slots.items() if count}

    def take(self, name: str, model: str, now: float) -> Replica:
        """A slot of this replica. Raises LookupError where it may not be given this model now."""
        replica = self.by_name.get(name)
        if replica is None or not replica.free(model, now):
            raise LookupError(f"{name} has no free slot for {model}")
        replica.running[model] = replica.running.get(model, 0) + 1
        if model in replica.breakers:
            replica.breakers[model].took(now)
        return replica

    def give_back(self, replica: Replica, model: str) -> None:
        """The slot is free again."""
        replica.running[model] -= 1
        if model in replica.breakers:
            replica.breakers[model].neither()
        self._settle(replica)

    def delivered(self, replica: Replica, model: str) -> None:
        breaker = replica.breakers.get(model)
        if breaker is None:
            return
        before = breaker.state(0.0)
        breaker.succeeded()
        if before != "closed" and breaker.state(0.0) == "closed":
            self._tell(events.BreakerClosed(replica.name, model))

    def failed(self, replica: Replica, model: str, now: float) -> None:
        """A failure that speaks against the model on this replica."""
        self._blame(replica, model, now)

    def _blame(self, replica: Replica, model: str, now: float) -> None:
        breaker = replica.breakers.setdefault(model, Breaker(self._pause_s))
        if breaker.failed(now):
            self._tell(events.BreakerOpened(replica.name, model))

    # -- standing --------------------------------------------------------------------------------------------------------
    def _settle(self, replica: Replica) -> None:
        """Says what has become of it, if that is new; forgets one that leaves and is idle."""
        if replica.leaving and not replica.busy and not replica.swapping:
            if self.by_name.get(replica.name) is replica:
                del self.by_name[replica.name]
                if replica.standing != "new":
                    self._tell(events.Left(replica.name))
            return
        standing: Standing = "up"
        if replica.leaving or replica.row.state == "draining":
            standing = "draining"
        elif replica.reason():
            standing = "new" if replica.standing == "new" else "cordoned"
        if standing == replica.standing:
            return
        before, replica.standing = replica.standing, standing
        match standing:
            case "up" if before == "new":
                self._tell(events.Joined(*_figures(replica)))
            case "up":
                self._tell(events.Uncordoned(replica.name))
            case "draining" if before != "new":
                self._tell(events.Draining(replica.name))
            case "cordoned":
                self._tell(events.Cordoned(replica.name, replica.reason()))
            case _:
                pass


def _figures(replica: Replica) -> tuple[str, str, int | None, int, tuple[str, ...], tuple[str, ...], bool, int]:
    row = replica.row
    loaded = tuple(sorted(replica.loaded))
    return row.name, row.accelerator, row.price_micro_usd_per_hour, row.slots, replica.models, loaded, row.loads, row.models_max
