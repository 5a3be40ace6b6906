"""Organizations, projects, keys and members; pure."""

import hashlib
import secrets
import zlib
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from gateway.access.scopes import Scopes

KeyKind: TypeAlias = Literal["inference", "management"]
_PREFIXES = {"inference": ("tl_live_", "tl_test_"), "management": ("tl_mgmt_",)}
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 43
_CHECKSUM_LENGTH = 6


class Caller(msgspec.Struct, frozen=True):
    """Who a request comes from, as its key says. `wallet_id` is the wallet its jobs are held on."""

    org_id: UUID
    project_id: UUID
    key_id: UUID
    livemode: bool
    lenient: bool
    currency: str
    wallet_id: UUID


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a management key or a member, by id, with the name people know them by."""

    kind: Literal["key", "member"]
    id: UUID
    name: str


class Manager(msgspec.Struct, frozen=True):
    """Who manages an organization, and what they may do there."""

    org_id: UUID
    actor: Actor
    scopes: Scopes


class Organization(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    currency: str


class OrganizationSettings(msgspec.Struct, frozen=True):
    """What a manager sees of an organization."""

    id: UUID
    name: str
    currency: str
    created_at: datetime
    version: int


class Project(msgspec.Struct, frozen=True):
    """Jobs, keys and reports of an organization that belong together. An archived one has no valid keys."""

    id: UUID
    name: str
    created_at: datetime
    archived_at: datetime | None
    version: int


class Key(msgspec.Struct, frozen=True):
    """A key as it may be shown: never the key itself."""

    id: UUID
    project: str | None
    name: str
    hint: str
    livemode: bool
    lenient: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def new_token(kind: KeyKind = "inference", *, livemode: bool = True) -> str:
    """`tl_live_<43 base-62 characters, 256 random bits><6 characters CRC-32>`; the checksum lets scanners tell a real key.

    `tl_test_…` for test keys, `tl_mgmt_…` for management keys.
    """
    prefix = "tl_mgmt_" if kind == "management" else "tl_live_" if livemode else "tl_test_"
    body = prefix + _base62(secrets.randbits(256), _RANDOM_LENGTH)
    return body + _checksum(body)


def well_formed(token: str, kind: KeyKind = "inference") -> bool:
    """Whether the token could be a key of this kind at all; spares the database from noise."""
    body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
    return token.startswith(_PREFIXES[kind]) and token.isascii() and checksum == _checksum(body)


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def hint(token: str) -> str:
    """What lists show: enough to recognise a key, too little to use it."""
    return f"{token[:12]}…{token[-4:]}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(value: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
