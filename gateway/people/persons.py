"""Make and find persons; give them another password."""

from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access.model import token_hash
from gateway.errors import Conflict, NotFound, SignInRefused
from gateway.people import sql
from gateway.people.model import RESET_S, Person, new_secret


async def make_person(conn: Conn, email: str, password_hash: str | None) -> Person:
    """Raises Conflict where somebody has the address: it is never taken over."""
    person_id = new_id()
    if await sql.ADD_PERSON.run(conn, person_id, email.lower(), password_hash) == 0:
        raise Conflict(f"{email.lower()} has a sign-in already; sign in with it first", param="email")
    return await sql.PERSON.one(conn, person_id)


async def person_of(conn: Conn, email: str) -> Person | None:
    return await sql.PERSON_OF.maybe(conn, email.lower())


async def find_person(conn: Conn, email: str) -> Person:
    """Raises NotFound."""
    found = await person_of(conn, email)
    if found is None:
        raise NotFound(f"nobody signs in as {email.lower()}; invite them")
    return found


async def lock_person(conn: Conn, person_id: UUID) -> Person:
    """Keeps others from changing how they sign in until the transaction ends."""
    return await sql.LOCKED_PERSON.one(conn, person_id)


async def change_password(conn: Conn, person: Person, hashed: str) -> None:
    """Raises Conflict where it is no longer the one that `person` was read with."""
    if await sql.SET_PASSWORD.run(conn, person.id, person.password_hash, hashed) == 0:
        raise Conflict("the password was changed meanwhile; sign in with the new one")


async def offer_reset(conn: Conn, person_id: UUID) -> str:
    """A token with which they set a password anew, once, within RESET_S. The one before is dead."""
    token = new_secret("reset")
    await sql.OFFER_RESET.run(conn, person_id, token_hash(token), RESET_S)
    return token


async def person_to_reset(conn: Conn, token: str) -> Person:
    """Whose password this token sets. Raises SignInRefused."""
    found = await sql.PERSON_TO_RESET.maybe(conn, token_hash(token))
    if found is None:
        raise SignInRefused("this token is unknown, was used or has expired; ask the operator for another")
    return found
