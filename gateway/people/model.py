"""Persons, sessions and invitations; how long things last; pure."""

import hmac
import secrets
import unicodedata
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from gateway.access.model import token_hash
from gateway.access.scopes import Role
from gateway.errors import InvalidRequest

Stage: TypeAlias = Literal["password", "full"]
InvitationState: TypeAlias = Literal["open", "accepted", "revoked", "expired"]

PASSWORD_MIN, PASSWORD_MAX = 12, 256
"""NIST SP 800-63B §3.1.1.2: a long minimum, room for phrases, no rules of composition, no expiry."""
Password: TypeAlias = Annotated[
    str, Meta(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX, description="Any characters; a few words are a good one.")
]

LIFETIME_S, IDLE_S = 24 * 3600, 3600
"""Of a session, whatever is done with it, and while nothing is: NIST SP 800-63B §2.2.3 for two factors."""
HALF_S = 600
"""From the password to the code."""
SEEN_EVERY_S = 60
"""A session's last use is known within so much."""
INVITED_S = 7 * 86400
RESET_S = 86400
TRIP_S = 600
"""From here to the provider and back."""

FREE_OF_ACCOUNT, FREE_OF_ADDRESS = 5, 50
"""So many failures cost no wait; an office behind one address has more of them."""
PAUSE_S_MAX = 900
FORGIVEN_S = 86400
"""A failure this long ago is none."""


class Person(msgspec.Struct, frozen=True):
    """`pending` and `totp` are sealed secrets of authenticators. `now` is when this was read."""

    id: UUID
    email: str
    password_hash: str | None
    pending: bytes | None
    totp: bytes | None
    now: datetime


class SignedIn(msgspec.Struct, frozen=True):
    """A session that is valid now. With `org_id` it is of one organization only, whose provider vouched for the person."""

    id: UUID
    person_id: UUID
    email: str
    stage: Stage
    org_id: UUID | None
    unseen: bool


class Session(msgspec.Struct, frozen=True):
    """A session as its person sees it."""

    id: UUID
    stage: Stage
    org_id: UUID | None
    address: str | None
    agent: str | None
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class Invitation(msgspec.Struct, frozen=True):
    """Never with its token."""

    id: UUID
    org_id: UUID
    email: str
    role: Role
    state: InvitationState
    invited_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None


class Place(msgspec.Struct, frozen=True):
    """Where somebody signs in from: the client's address and what their browser calls itself, each for them to recognise."""

    address: str
    agent: str


def new_secret(kind: Literal["session", "invite", "reset", "trip"]) -> str:
    """256 random bits, with a name by which logs mask them."""
    return f"tl_{kind}_{secrets.token_hex(32)}"


def csrf_token(session: str) -> str:
    """What a page of ours sends besides the cookie: it follows from the session's secret, and tells nothing of it."""
    return hmac.digest(session.encode(), b"csrf", "sha256").hex()


def normal(password: str) -> str:
    """One spelling of what looks alike, whatever keyboard it was typed on (NIST SP 800-63B §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


def check_password(email: str, password: str) -> None:
    """Raises InvalidRequest for the address itself."""
    if normal(password).casefold() == email.casefold():
        raise InvalidRequest("the password must not be the e-mail address", param="password")


def of_account(email: str) -> bytes:
    """The subject of attempts on an address, whether or not anybody has it."""
    return token_hash(f"account/{email.lower()}")


def of_network(address: str) -> bytes:
    """The subject of attempts from a client's address; of IPv6 the /64, which is what one subscriber has."""
    try:
        found = ip_address(address)
    except ValueError:
        return token_hash("network/unknown")
    if isinstance(found, IPv6Address):
        return token_hash(f"network/{ip_network((found, 64), strict=False)}")
    return token_hash(f"network/{found}")


def of_person(what: Literal["code", "password"], person_id: UUID) -> bytes:
    """The subject of attempts by somebody who has shown the first factor already: no stranger can make them wait."""
    return token_hash(f"{what}/{person_id}")


def pause_s(failures: int, free: int) -> int:
    """The wait after that many failures in a row: 0, then 1, 2, 4 … seconds."""
    return 0 if failures < free else min(1 << min(failures - free, 30), PAUSE_S_MAX)
