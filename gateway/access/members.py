"""Add, list, change and remove members: an organization's people and their roles."""

from uuid import UUID

import asyncpg

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Member, Membership
from gateway.access.scopes import Role
from gateway.errors import Conflict, NotFound


async def add_member(conn: Conn, org_id: UUID, email: str, role: Role) -> Member:
    """Raises Conflict where they are a member; the transaction is then of no further use."""
    member_id = new_id()
    try:
        await sql.ADD_MEMBER.run(conn, org_id, member_id, email.lower(), role)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"{email.lower()} is a member; change their role", param="email") from error
    return await read_member(conn, org_id, member_id)


async def list_members(conn: Conn, org_id: UUID, *, limit: int, after: UUID | None = None) -> list[Member]:
    """The newest first."""
    return await sql.MEMBERS.all(conn, org_id, after, limit)


async def read_member(conn: Conn, org_id: UUID, member_id: UUID, *, lock: bool = False) -> Member:
    """`lock` keeps others from changing this member, or who is an owner, until the transaction ends. Raises NotFound."""
    if lock:
        await sql.LOCKED_SETTINGS.one(conn, org_id)
    found = await sql.MEMBER.maybe(conn, org_id, member_id)
    if found is None:
        raise NotFound(f"there is no member {member_id}")
    return found


async def change_role(conn: Conn, org_id: UUID, member: Member, role: Role) -> Member:
    """Of a member that was read with `lock`. Raises Conflict for the last owner."""
    if member.role == "owner" and role != "owner":
        await _keep_an_owner(conn, org_id)
    await sql.CHANGE_ROLE.run(conn, org_id, member.id, role)
    return await read_member(conn, org_id, member.id)


async def remove_member(conn: Conn, org_id: UUID, member: Member) -> None:
    """Of a member that was read with `lock`. Raises Conflict for the last owner."""
    if member.role == "owner":
        await _keep_an_owner(conn, org_id)
    await sql.REMOVE_MEMBER.run(conn, org_id, member.id)


async def member_with(conn: Conn, org_id: UUID, email: str) -> Member | None:
    """Whoever has this address, locked."""
    return await sql.MEMBER_WITH.maybe(conn, org_id, email.lower())


async def join_member(conn: Conn, org_id: UUID, email: str, role: Role, person_id: UUID) -> Member:
    """Makes the person the member of this address and role, who may have been added before. Raises Conflict for any other."""
    joined = await sql.JOIN_MEMBER.maybe(conn, org_id, new_id(), email.lower(), role, person_id)
    if joined is None:
        raise Conflict(f"{email.lower()} is a member already, or has another role; ask for another invitation")
    return joined


async def memberships_of(conn: Conn, person_id: UUID, org_id: UUID | None = None) -> list[Membership]:
    """Everything the person has joined, or what they are in one organization."""
    return await sql.MEMBERSHIPS.all(conn, person_id, org_id)


async def _keep_an_owner(conn: Conn, org_id: UUID) -> None:
    if (await sql.OWNERS.one(conn, org_id)).count <= 1:
        raise Conflict("this is the last owner; make somebody else one first", param="role")
