"""How people sign in, straight on the database: let the first one in, and help where somebody is locked out."""

import asyncio
from uuid import UUID

import click

from billing.kit.query import Conn
from gateway.access.members import memberships_of
from gateway.access.model import Email
from gateway.access.organizations import find_organization
from gateway.access.scopes import ROLES, Role
from gateway.audit.model import PLATFORM
from gateway.cli.access import checked, note, organization
from gateway.cli.command import as_json, reported, settings_flags, write_json
from gateway.cli.database import in_transaction, operator
from gateway.people.invitations import invite
from gateway.people.model import Invitation
from gateway.people.persons import find_person, lock_person, offer_reset
from gateway.people.second_factor import forget_factor
from gateway.people.sessions import end_sessions
from gateway.people.view import invitation_view, new_invitation_view
from gateway.settings import Settings


@click.group()
def people() -> None:
    """Invite people, reset what they sign in with, end their sessions."""


@people.command("invite")
@organization
@click.argument("email")
@click.option("--role", type=click.Choice(tuple(ROLES)), required=True, help="What they may do.")
@settings_flags("dsn")
@as_json
def invite_one(org: str, email: str, role: Role, settings: Settings, *, as_json: bool) -> None:
    """Invite somebody. The token is shown this once; hand it over yourself, no mail is sent."""

    async def make(conn: Conn) -> tuple[Invitation, str]:
        owner = await find_organization(conn, org)
        made, token = await invite(conn, owner.id, checked(email, Email), role, by=operator().name)
        await note(conn, owner.id, "invitation.create", made.id, after=invitation_view(made))
        return made, token

    with reported():
        made, token = asyncio.run(in_transaction(settings, make))
        if as_json:
            write_json(new_invitation_view(made, token))
        else:
            click.echo(f"{token}\n{made.email} comes in with it until {made.expires_at:%Y-%m-%d %H:%MZ}.")


@people.command("reset")
@click.argument("email")
@click.option("--factor", is_flag=True, help="Forget the authenticator and the recovery codes: the password enrols another.")
@click.option("--password", is_flag=True, help="Print a token with which they set a new password, once, within a day.")
@settings_flags("dsn")
@as_json
def reset(email: str, settings: Settings, *, factor: bool, password: bool, as_json: bool) -> None:
    """Reset what somebody signs in with, after you made sure who is asking. Their sessions end."""
    if not (factor or password):
        raise click.UsageError("say what to reset: --factor, --password, or both")

    async def clear(conn: Conn) -> str | None:
        person = await lock_person(conn, (await find_person(conn, checked(email, Email))).id)
        if factor:
            await forget_factor(conn, person.id)
        token = await offer_reset(conn, person.id) if password else None
        await end_sessions(conn, person.id)
        await _note(conn, person.id, "sign_in.reset", {"factor": factor, "password": password})
        return token

    with reported():
        token = asyncio.run(in_transaction(settings, clear))
        if as_json:
            write_json({"email": email.lower(), "token": token})
        else:
            click.echo(
                f"{token}\nPOST /v1/sign-in/password takes it within a day." if token else f"{email.lower()} may enrol anew"
            )


@people.command("end-sessions")
@click.argument("email")
@settings_flags("dsn")
@as_json
def end(email: str, settings: Settings, *, as_json: bool) -> None:
    """Sign somebody out everywhere, at once."""

    async def end_all(conn: Conn) -> int:
        person = await find_person(conn, checked(email, Email))
        count = await end_sessions(conn, person.id)
        await _note(conn, person.id, "sessions.end", {"count": count})
        return count

    with reported():
        count = asyncio.run(in_transaction(settings, end_all))
        if as_json:
            write_json({"email": email.lower(), "ended": count})
        else:
            click.echo(f"{count} sessions of {email.lower()} have ended")


async def _note(conn: Conn, person_id: UUID, name: str, after: dict[str, object]) -> None:
    """In the trail of each organization they joined, for it is theirs too; else in the platform's."""
    joined = await memberships_of(conn, person_id)
    for member in joined:
        await note(conn, member.org_id, name, member.member_id, after=after)
    if not joined:
        await note(conn, PLATFORM, name, person_id, after=after)
