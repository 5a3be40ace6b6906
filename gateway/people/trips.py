"""A browser's trip to a provider and back: begun here, and ended once by the same browser."""

import base64
import secrets
from hashlib import sha256
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.access.model import token_hash
from gateway.errors import SignInRefused
from gateway.people import sql
from gateway.people.model import TRIP_S, new_secret


class Trip(msgspec.Struct, frozen=True):
    """`state` goes by way of the provider, `browser` stays in a cookie, `challenge` is the hash of a proof to come (PKCE)."""

    state: str
    browser: str
    nonce: str
    challenge: str


async def begin_trip(conn: Conn, org_id: UUID, issuer: str) -> Trip:
    state, browser, nonce = new_secret("trip"), new_secret("trip"), secrets.token_urlsafe(32)
    verifier = base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()
    await sql.ADD_TRIP.run(conn, org_id, token_hash(state), token_hash(browser), issuer, nonce, verifier, TRIP_S)
    return Trip(state, browser, nonce, _s256(verifier))


async def end_trip(conn: Conn, org_id: UUID, state: str, browser: str) -> sql.TripRow:
    """Once. Raises SignInRefused for one that is unknown, over, or of another browser or organization."""
    found = await sql.END_TRIP.maybe(conn, org_id, token_hash(state), token_hash(browser))
    if found is None:
        raise SignInRefused("this sign-in was not begun in this browser, or is over; begin it again")
    return found


def _s256(verifier: str) -> str:
    """RFC 7636 §4.2."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
