"""Where an organization's people sign in: its provider, and who its subjects are."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.access.members import join_member, member_with
from gateway.errors import NotFound, SignInRefused
from gateway.people import sql
from gateway.people.model import Person
from gateway.people.persons import make_person
from gateway.people.seal import Seal


class Provider(msgspec.Struct, frozen=True):
    """Never shown with its secret."""

    issuer: str
    client_id: str
    client_secret: str
    created_at: datetime


class Identity(msgspec.Struct, frozen=True):
    """Whom an issuer vouches for, with an address that it has verified."""

    issuer: str
    subject: str
    email: str


async def read_provider(conn: Conn, seal: Seal, org_id: UUID, *, lock: bool = False) -> Provider:
    """Raises NotFound."""
    row = await (sql.LOCKED_PROVIDER if lock else sql.PROVIDER).maybe(conn, org_id)
    if row is None:
        raise NotFound("this organization has no sign-in provider")
    secret = seal.open(row.client_secret, _about(org_id)).decode()
    return Provider(row.issuer, row.client_id, secret, row.created_at)


async def set_provider(conn: Conn, seal: Seal, org_id: UUID, *, issuer: str, client_id: str, client_secret: str) -> Provider:
    """In place of the one before: whoever came by that is signed out. Subjects of another issuer are others."""
    await sql.END_SESSIONS_BY_PROVIDER.run(conn, org_id)
    await sql.SET_PROVIDER.run(conn, org_id, issuer, client_id, seal.close(client_secret.encode(), _about(org_id)))
    return await read_provider(conn, seal, org_id)


async def remove_provider(conn: Conn, org_id: UUID) -> None:
    """Whoever came by it is signed out."""
    await sql.REMOVE_PROVIDER.run(conn, org_id)
    await sql.END_SESSIONS_BY_PROVIDER.run(conn, org_id)


async def person_of_identity(conn: Conn, org_id: UUID, identity: Identity) -> Person:
    """Who that is in this organization: settled when they first come, by the address of a member, and never again.

    Raises SignInRefused for who is no member, and for another subject with the address of one; Conflict where the address has
    a sign-in of its own, which has not joined: an organization's provider does not speak for that.
    """
    known = await sql.PERSON_WITH_SUBJECT.maybe(conn, org_id, identity.issuer, identity.subject)
    if known is not None:
        return await sql.PERSON.one(conn, known.id)
    member = await member_with(conn, org_id, identity.email)
    if member is None:
        raise SignInRefused(f"{identity.email} is no member of this organization; ask one of its managers to add them")
    if member.person_id is None:
        person = await make_person(conn, identity.email, None)
        await join_member(conn, org_id, identity.email, member.role, person.id)
    else:
        person = await sql.PERSON.one(conn, member.person_id)
    if await sql.ADD_SUBJECT.run(conn, org_id, identity.issuer, identity.subject, person.id) == 0:
        raise SignInRefused(f"{identity.email} is another subject of this provider; a manager may remove and add the member")
    return person


def _about(org_id: UUID) -> str:
    return f"provider/{org_id}"
