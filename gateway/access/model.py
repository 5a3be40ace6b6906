"""Organizations, projects, keys and members; pure."""

import hashlib
import secrets
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias, cast
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.access.restrictions import Restrictions, check_restrictions, restrictions_of
from gateway.access.scopes import SCOPES, Role, Scope, Scopes
from gateway.errors import InvalidRequest
from gateway.video import VideoRequest

KeyKind: TypeAlias = Literal["inference", "management"]
KeyState: TypeAlias = Literal["valid", "expired", "revoked"]
# No controls, and no blank at either end: two names that look alike are alike, and PostgreSQL takes no NUL.
Name: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$")
]
PROMPT_DAYS = 30
PromptDays: TypeAlias = Annotated[
    int, Meta(ge=0, le=3650, description="So long what was asked for is kept after a job has ended; 0: no longer than it takes.")
]
Email: TypeAlias = Annotated[str, Meta(max_length=254, pattern=r"^[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")]
Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Labels: TypeAlias = Annotated[
    dict[Label, Label], Meta(max_length=8, description="What usage is reported by; a request's own labels win.")
]
_PREFIXES = {"inference": ("tl_live_", "tl_test_"), "management": ("tl_mgmt_",)}
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 43
_CHECKSUM_LENGTH = 6


class Caller(msgspec.Struct, frozen=True):
    """Who a request comes from, as its key says. `wallet_id` is the wallet its jobs are held on.

    `labels` and `end_user` stand for what a request does not say itself; `restrictions` is None where there are none.
    """

    org_id: UUID
    project_id: UUID
    key_id: UUID
    livemode: bool
    lenient: bool
    currency: str
    wallet_id: UUID
    labels: Mapping[str, str] = {}
    end_user: str | None = None
    restrictions: Restrictions | None = None

    def may_use(self, model: str) -> bool:
        return self.restrictions is None or self.restrictions.models is None or model in self.restrictions.models

    def complete(self, request: VideoRequest) -> VideoRequest:
        """The request with what its key says where it says nothing itself."""
        if not self.labels and self.end_user is None:
            return request
        labels = {**self.labels, **request.labels}
        return msgspec.structs.replace(request, labels=labels, end_user=request.end_user or self.end_user)


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a management key or a member, by id, with the name people know them by."""

    kind: Literal["key", "member"]
    id: UUID
    name: str


class Manager(msgspec.Struct, frozen=True):
    """Who manages an organization, what they may do there, and from where."""

    org_id: UUID
    actor: Actor
    scopes: Scopes
    restrictions: Restrictions | None = None


class Reader(msgspec.Struct, frozen=True):
    """Whose books are read, and which: those of real money or of play money."""

    org_id: UUID
    livemode: bool
    currency: str


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
    prompt_days: int
    created_at: datetime
    archived_at: datetime | None
    version: int


class Member(msgspec.Struct, frozen=True):
    """One of an organization's people. `person_id` is who they are, once they came in themselves (gateway/people)."""

    id: UUID
    email: str
    role: Role
    created_at: datetime
    version: int
    person_id: UUID | None

    @property
    def joined(self) -> bool:
        return self.person_id is not None


class Membership(msgspec.Struct, frozen=True):
    """What a person is in an organization."""

    org_id: UUID
    organization: str
    member_id: UUID
    email: str
    role: Role


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a key, and said anew. `labels` and `end_user` hold for requests that name none of their own."""

    name: Name
    lenient: bool = False
    scopes: tuple[Scope, ...] = ()
    labels: Labels = {}
    end_user: Label | None = None
    restrictions: Restrictions = Restrictions()
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None

    def check(self, kind: KeyKind) -> None:
        """Raises InvalidRequest for what this kind of key does not have, and for an address that is none."""
        if kind == "inference" and self.scopes:
            raise InvalidRequest("an inference key has no scopes; it runs jobs of its project", param="scopes")
        if kind == "management" and not self.scopes:
            raise InvalidRequest(f"say what the key may do, of: {', '.join(SCOPES)}", param="scopes")
        if kind == "management" and self != KeySettings(
            name=self.name,
            scopes=self.scopes,
            restrictions=Restrictions(addresses=self.restrictions.addresses),
            expires_at=self.expires_at,
        ):
            raise InvalidRequest("a management key has a name, scopes, an expiry and restrictions.addresses; leave out the rest")
        check_restrictions(self.restrictions)
        try:
            _ = self.expires_at and self.expires_at.astimezone(UTC)
        except OverflowError as error:
            raise InvalidRequest("expires_at must lie before the year 10000, in UTC", param="expires_at") from error


class Key(msgspec.Struct, frozen=True):
    """A key as it may be shown: never the key itself. `labels` and `restrictions` still encoded."""

    id: UUID
    kind: str
    project_id: UUID | None
    project: str | None
    name: str
    hint: str
    livemode: bool
    lenient: bool
    scopes: list[str]
    labels: bytes
    end_user: str | None
    restrictions: bytes
    state: str
    created_at: datetime
    expires_at: datetime | None
    previous_until: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    revoked_because: str | None
    version: int

    def settings(self) -> KeySettings:
        return KeySettings(
            name=self.name,
            lenient=self.lenient,
            scopes=cast("tuple[Scope, ...]", tuple(self.scopes)),
            labels=labels_of(self.labels),
            end_user=self.end_user,
            restrictions=restrictions_of(self.restrictions) or Restrictions(),
            expires_at=self.expires_at,
        )


labels_of = msgspec.json.Decoder(dict[str, str]).decode


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
