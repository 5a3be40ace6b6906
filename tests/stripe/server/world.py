"""Everything this Stripe knows, in memory: objects as they stand on the wire, secrets beside them, and what is due when.

Verbs are plain functions that run to their end between two awaits, so each of them is one transaction.
"""

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from tests.stripe.server.errors import Json, absent
from tests.stripe.server.settings import DAY_S, Settings

API_VERSION = "2026-10-28.endive"
"""The version of the pinned SDK; a test compares the two."""


class Timer(msgspec.Struct):
    """Calls the verb registered as `verb` with `id` once the clock is there."""

    at: int
    verb: str
    id: str
    account: str


class Delivery(msgspec.Struct):
    """One event for one endpoint. `attempts` are the HTTP statuses seen, 0 for none."""

    id: str
    event: str
    endpoint: str
    due_at: int
    state: str = "waiting"
    """waiting, delivered, dropped (the control plane lost it) or failed (every attempt was used up)."""
    attempts: list[int] = []


class Kept(msgspec.Struct):
    """The answer to a request with an idempotency key; no status while it runs."""

    request: str
    path: str
    fingerprint: str
    at: int
    status: int = 0
    body: str = ""


class Fault(msgspec.Struct, kw_only=True):
    """What goes wrong with the next `times` requests that match; `path` may end in a star."""

    id: str = ""
    method: str = "*"
    path: str = "*"
    at: str = "before"
    """before: nothing happened; after: the state has changed."""
    what: str = "reset"
    """reset the connection, cut the answer short, hold it until released, or answer with an error."""
    status: int = 500
    type: str = "api_error"
    code: str = ""
    times: int = 1


class State(msgspec.Struct):
    """All of it can be written to a file and read back."""

    settings: Settings
    now: int
    seed: str
    ticking: bool = False
    shift: int = 0
    counter: int = 0
    tables: dict[str, dict[str, Json]] = {}
    owner: dict[str, str] = {}
    """The connected account that an object belongs to; the platform's are not listed."""
    hidden: dict[str, Json] = {}
    """What Stripe knows of an object and does not show."""
    timers: list[Timer] = []
    deliveries: list[Delivery] = []
    kept: dict[str, Kept] = {}
    faults: list[Fault] = []
    planned: dict[str, list[Json]] = {}
    """Outcomes the control plane has laid down for the next confirmations, by customer or "*"."""


def fresh(settings: Settings, *, now: int | None = None, seed: str = "", ticking: bool = False) -> State:
    """Ids differ from run to run unless a seed is given, so that a database that outlives the server meets no old id again."""
    started = int(time.time()) if now is None else now
    state = State(settings, started, seed or os.urandom(8).hex(), ticking=ticking, shift=started - int(time.time()))
    state.timers.append(Timer(started + DAY_S, "payouts.daily", "", settings.platform))
    return state


TIMERS: dict[str, Callable[["World", str], None]] = {}
FOLLOWERS: dict[str, Callable[["World", str, Json], None]] = {}
"""Whoever makes an intent for a purpose of its own hears how each attempt ends: (world, its own id, the intent)."""


def timer(name: str) -> Callable[[Callable[["World", str], None]], Callable[["World", str], None]]:
    """Registers what a timer does under a name that survives a dump."""

    def register(verb: Callable[["World", str], None]) -> Callable[["World", str], None]:
        TIMERS[name] = verb
        return verb

    return register


def follower(name: str) -> Callable[[Callable[["World", str, Json], None]], Callable[["World", str, Json], None]]:
    """Registers a follower under a name; an intent's secret "follower" holds that name and the id."""

    def register(verb: Callable[["World", str, Json], None]) -> Callable[["World", str, Json], None]:
        FOLLOWERS[name] = verb
        return verb

    return register


class World:
    """`acting` is the account whose objects are seen; `request` the API request that changes them, for events."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.acting = state.settings.platform
        self.request: Json = {"id": None, "idempotency_key": None}
        self.base_url = ""

    @property
    def settings(self) -> Settings:
        return self.state.settings

    @property
    def now(self) -> int:
        """Unix seconds on the virtual clock."""
        return self.state.now

    def new_id(self, prefix: str) -> str:
        self.state.counter += 1
        return f"{prefix}_{hashlib.blake2b(f'{self.state.seed}:{self.state.counter}'.encode(), digest_size=12).hexdigest()}"

    def add(self, row: Json) -> Json:
        self.state.tables.setdefault(row["object"], {})[row["id"]] = row
        if self.acting != self.settings.platform:
            self.state.owner[row["id"]] = self.acting
        return row

    def remove(self, kind: str, id: str) -> Json:
        del self.state.tables[kind][id]
        return {"id": id, "object": kind, "deleted": True}

    def get(self, kind: str, id: str, param: str = "id") -> Json:
        row = self.state.tables.get(kind, {}).get(id)
        if row is None or not self._sees(id):
            raise absent(kind, id, param)
        return row

    def find(self, id: str) -> Json | None:
        """The object with that id, of whatever kind."""
        return next((table[id] for table in self.state.tables.values() if id in table and self._sees(id)), None)

    def rows(self, kind: str, **where: Any) -> list[Json]:
        """Newest first."""
        table = self.state.tables.get(kind, {})
        wanted = {key: value for key, value in where.items() if value is not None}
        return [
            row for row in reversed(table.values()) if self._sees(row["id"]) and all(row.get(k) == v for k, v in wanted.items())
        ]

    def secret(self, id: str) -> Json:
        return self.state.hidden.setdefault(id, {})

    def _sees(self, id: str) -> bool:
        return self.state.owner.get(id, self.settings.platform) == self.acting

    @contextmanager
    def acting_as(self, account: str) -> Generator[None]:
        before, self.acting = self.acting, account
        try:
            yield
        finally:
            self.acting = before

    def as_owner(self, id: str) -> AbstractContextManager[None]:
        """Acts as the account that the object belongs to."""
        return self.acting_as(self.state.owner.get(id, self.settings.platform))

    def after(self, seconds: int, verb: str, id: str) -> None:
        """Does `verb` to `id` later; TIMERS holds the verbs."""
        self.state.timers.append(Timer(self.now + seconds, verb, id, self.acting))

    def emit(self, type: str, row: Json, before: Json | None = None) -> None:
        """Writes an event with the object as it is now; `before` are the attributes that changed, as they were."""
        data: Json = {"object": copy.deepcopy(row)}
        if before is not None:
            data["previous_attributes"] = copy.deepcopy(before)
        event: Json = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": dict(self.request),
            "type": type,
        }
        if self.acting != self.settings.platform:
            event["account"] = self.acting
        self.add(event)
        for endpoint in self.state.tables.get("webhook_endpoint", {}).values():
            if _hears(endpoint, self.secret(endpoint["id"]), event):
                event["pending_webhooks"] += 1
                self.state.deliveries.append(Delivery(self.new_id("dl"), event["id"], endpoint["id"], self.now))

    def update(self, row: Json, type: str, **changes: Any) -> Json:
        """Changes an object and writes the event that says so."""
        before = {key: row.get(key) for key, value in changes.items() if row.get(key) != value}
        row |= changes
        self.emit(type, row, before)
        return row

    def dump(self) -> bytes:
        return msgspec.json.encode(self.state)

    def restore(self, dumped: bytes) -> None:
        self.state = msgspec.json.decode(dumped, type=State)
        self.acting = self.settings.platform


def _hears(endpoint: Json, secret: Json, event: Json) -> bool:
    wanted = endpoint["enabled_events"]
    connect = "account" in event
    return endpoint["status"] == "enabled" and secret["connect"] == connect and ("*" in wanted or event["type"] in wanted)


def payload(event: Json) -> bytes:
    """The bytes that are signed and sent: Stripe indents them."""
    return json.dumps(event, indent=2).encode()
