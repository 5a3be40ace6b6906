"""The second factor: codes of an authenticator (RFC 6238), each taken once, and recovery codes where it is lost."""

import base64
import hmac
import secrets
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from billing.kit.query import Conn
from gateway.access.model import token_hash
from gateway.errors import Conflict, SignInRefused
from gateway.people import sql
from gateway.people.model import Person
from gateway.people.seal import Seal

_STEP_S, _DIGITS, _SECRET_BYTES = 30, 6, 20
"""What every authenticator app takes without being asked."""
_STEPS = (0, -1, 1)
"""Clocks may differ by one step (RFC 6238 §5.2)."""
_RECOVERY_CODES, _RECOVERY_GROUPS = 10, 5
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Enrolment(msgspec.Struct, frozen=True):
    """What an authenticator is given: the secret in base 32, and the same as a link to draw as a QR code."""

    secret: str
    uri: str


async def begin_enrolment(conn: Conn, seal: Seal, person: Person) -> Enrolment:
    """An authenticator that counts once it has shown a code. Raises Conflict where there is one."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    if await sql.SET_PENDING.run(conn, person.id, seal.close(secret, _about(person.id))) == 0:
        raise Conflict("there is a second factor; sign in with it, and replace it from there")
    return Enrolment(base64.b32encode(secret).decode(), _codes(secret).get_provisioning_uri(person.email, "Tallylight"))


async def show_code(conn: Conn, seal: Seal, person: Person, code: str) -> list[str] | None:
    """Takes the code of a person that was locked. The first one of an authenticator is answered with new recovery codes.

    Raises SignInRefused for a wrong code, one that was taken before, and where nothing was enrolled.
    """
    if person.totp is None:
        return await _confirm(conn, seal, person, code)
    step = _step_of(seal, person, person.totp, code)
    taken = await sql.TAKE_STEP.run(conn, person.id, step) if step is not None else await _take_recovery(conn, person, code)
    if taken == 0:
        raise SignInRefused
    return None


async def forget_factor(conn: Conn, person_id: UUID) -> None:
    """Their authenticator and recovery codes; with the password they may enrol another."""
    await sql.FORGET_FACTOR.run(conn, person_id)
    await sql.FORGET_RECOVERY_CODES.run(conn, person_id)


async def _confirm(conn: Conn, seal: Seal, person: Person, code: str) -> list[str]:
    step = None if person.pending is None else _step_of(seal, person, person.pending, code)
    if step is None or await sql.CONFIRM.run(conn, person.id, step) == 0:
        raise SignInRefused
    codes = [_recovery_code() for _ in range(_RECOVERY_CODES)]
    await sql.FORGET_RECOVERY_CODES.run(conn, person.id)
    await sql.ADD_RECOVERY_CODES.run(conn, person.id, [token_hash(one) for one in codes])
    return codes


async def _take_recovery(conn: Conn, person: Person, code: str) -> int:
    return await sql.TAKE_RECOVERY_CODE.run(conn, person.id, token_hash(code.strip().upper()))


def _step_of(seal: Seal, person: Person, sealed: bytes, code: str) -> int | None:
    """The step whose code this is, by the database's clock."""
    codes, now = _codes(seal.open(sealed, _about(person.id))), int(person.now.timestamp()) // _STEP_S
    given = code.strip().encode()
    return next((now + by for by in _STEPS if hmac.compare_digest(codes.generate((now + by) * _STEP_S), given)), None)


def _codes(secret: bytes) -> TOTP:
    return TOTP(secret, _DIGITS, SHA1(), _STEP_S)  # noqa: S303 – RFC 6238's own, and the only one every app knows


def _recovery_code() -> str:
    """125 random bits: no guess is worth a slow hash."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(_RECOVERY_GROUPS))


def _about(person_id: UUID) -> str:
    return f"totp/{person_id}"
