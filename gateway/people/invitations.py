"""Invite somebody to an organization, and let them in."""

from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access.members import join_member, member_with
from gateway.access.model import Member, token_hash
from gateway.access.scopes import Role
from gateway.errors import Conflict, Forbidden, NotFound, SignInRefused
from gateway.people import sql
from gateway.people.model import INVITED_S, Invitation, Person, new_secret


async def invite(conn: Conn, org_id: UUID, email: str, role: Role, *, by: str) -> tuple[Invitation, str]:
    """Returns the invitation and its token, which is shown this once. One to the same address that is open is revoked.

    Raises Conflict for somebody who has come in, and for a member with another role: an invitation changes none.
    """
    _refuse_another_role(await member_with(conn, org_id, email), role)
    await sql.REVOKE_INVITATIONS_TO.run(conn, org_id, email.lower())
    token, invitation_id = new_secret("invite"), new_id()
    await sql.ADD_INVITATION.run(conn, org_id, invitation_id, email.lower(), role, token_hash(token), by, INVITED_S)
    return await read_invitation(conn, org_id, invitation_id), token


async def list_invitations(conn: Conn, org_id: UUID, *, limit: int, after: UUID | None = None) -> list[Invitation]:
    """The newest first."""
    return await sql.INVITATIONS.all(conn, org_id, after, limit)


async def read_invitation(conn: Conn, org_id: UUID, invitation_id: UUID) -> Invitation:
    """Raises NotFound."""
    found = await sql.INVITATION.maybe(conn, org_id, invitation_id)
    if found is None:
        raise NotFound(f"there is no invitation {invitation_id}")
    return found


async def revoke_invitation(conn: Conn, invitation: Invitation) -> Invitation:
    """Of one that is open. Raises Conflict for one that was accepted: remove the member."""
    if invitation.state == "accepted":
        raise Conflict(f"{invitation.email} has accepted; remove the member")
    await sql.REVOKE_INVITATION.run(conn, invitation.org_id, invitation.id)
    return await read_invitation(conn, invitation.org_id, invitation.id)


async def invitation_with(conn: Conn, token: str) -> Invitation:
    """Locked. Raises SignInRefused, with one answer for unknown, used, revoked and expired."""
    found = await sql.INVITATION_WITH.maybe(conn, token_hash(token))
    if found is None:
        raise SignInRefused("this invitation is unknown, was used or revoked, or has expired; ask for another")
    return found


async def accept(conn: Conn, invitation: Invitation, person: Person) -> Member:
    """Raises Forbidden for an invitation to another address, Conflict where their role was changed since."""
    if person.email != invitation.email:
        raise Forbidden(f"this invitation is to another address than {person.email}")
    _refuse_another_role(await member_with(conn, invitation.org_id, invitation.email), invitation.role)
    member = await join_member(conn, invitation.org_id, invitation.email, invitation.role, person.id)
    await sql.ACCEPT_INVITATION.run(conn, invitation.org_id, invitation.id)
    return member


def _refuse_another_role(member: Member | None, role: Role) -> None:
    """Whoever may invite a viewer must not come in as the owner that somebody else wrote down under this address."""
    if member is None:
        return
    if member.joined:
        raise Conflict(f"{member.email} is a member and has come in; change their role", param="email")
    if member.role != role:
        raise Conflict(f"{member.email} is a member as {member.role}; invite them as that, or change their role", param="role")
