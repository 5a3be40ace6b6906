"""Audit entries and their chain; pure."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from billing.ledger.chain import GENESIS
from gateway.telemetry.logs import without_secrets

PLATFORM = UUID(int=0)
"""Stands for the organization in entries about the platform itself: its fleet, its prices."""

Facts: TypeAlias = Mapping[str, object]


class Actor(msgspec.Struct, frozen=True):
    """Who acted. `name` is what the key or the member was called then; a stranger is who failed to sign in."""

    kind: Literal["key", "member", "operator", "clerk", "stranger"]
    id: str
    name: str


class Origin(msgspec.Struct, frozen=True):
    """From where: the client's address, and the `x-request-id` of the call."""

    address: str | None = None
    request_id: str | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something done (`refused` is None) or refused with an error's code. `name` is `<object>.<verb>`, as `key.revoke`.

    `before` and `after` are the object as it may be shown: an action that creates has no `before`, one that deletes no `after`.
    """

    org_id: UUID
    actor: Actor
    name: str
    object_id: str
    before: Facts | None = None
    after: Facts | None = None
    refused: str | None = None
    origin: Origin = Origin()


class Entry(msgspec.Struct, frozen=True):
    """An action in its place. `before`, `after` and `actor` are JSON."""

    org_id: UUID
    position: int
    at: datetime
    actor: str
    action: str
    object_id: str
    refused: str | None
    before: str | None
    after: str | None
    address: str | None
    request_id: str | None
    digest: bytes = b""


def entry_of(action: Action, position: int, at: datetime, previous: bytes) -> Entry:
    """The action behind `previous`, without secrets."""
    entry = Entry(
        org_id=action.org_id,
        position=position,
        at=at,
        actor=_json(msgspec.to_builtins(action.actor)),
        action=action.name,
        object_id=action.object_id,
        refused=action.refused,
        before=None if action.before is None else _json(action.before),
        after=None if action.after is None else _json(action.after),
        address=action.origin.address,
        request_id=action.origin.request_id,
    )
    return msgspec.structs.replace(entry, digest=digest_of(entry, previous))


def digest_of(entry: Entry, previous: bytes = GENESIS) -> bytes:
    """SHA-256(previous digest ‖ a JSON array of the entry, its objects with sorted names)."""
    canonical = [
        entry.org_id,
        entry.position,
        round(entry.at.timestamp() * 1_000_000),
        *(None if text is None else msgspec.json.decode(text) for text in (entry.actor, entry.before, entry.after)),
        entry.action,
        entry.object_id,
        entry.refused,
        entry.address,
        entry.request_id,
    ]
    return sha256(previous + msgspec.json.encode(canonical, order="deterministic")).digest()


def _json(value: object) -> str:
    return without_secrets(msgspec.json.encode(value, order="deterministic")).decode()
