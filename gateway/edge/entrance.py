"""What happens at the entrance, as entries of the trail: in that of each organization the person has joined.

Who is in none, or nobody at all, stands in the platform's own; so an unknown address costs as much time as a known one.
"""

from typing import Any
from uuid import UUID

from billing.kit.pool import transact
from billing.kit.query import Conn
from gateway.access.members import memberships_of
from gateway.access.model import Membership
from gateway.audit.model import PLATFORM, Action, Actor, Facts, Origin
from gateway.audit.record import record
from gateway.edge.caller import HttpRequest, client_address, gateway_of
from gateway.errors import GatewayError
from gateway.people.model import Person, SignedIn
from gateway.telemetry.logs import answering

_STRANGER = Actor("stranger", "unknown", "unknown")
"""What somebody typed is not kept: it may be a password."""


async def note(conn: Conn, request: HttpRequest, who: Person | SignedIn | None, name: str, *, after: Facts | None = None) -> None:
    """Records what was done, as the last step of the caller's transaction."""
    await record(conn, *[_action(request, actor, name, after=after) for actor in await _actors(conn, who)])


async def note_failure(
    request: HttpRequest, who: Person | SignedIn | None, name: str, error: GatewayError, *, org_id: UUID = PLATFORM
) -> GatewayError:
    """Records what was refused, in a transaction of its own. Returns the refusal, to be raised.

    `org_id` is whose door a stranger was at.
    """

    async def write(conn: Conn) -> None:
        actors = await _actors(conn, who)
        await record(conn, *[_action(request, actor, name, org_id=org_id, refused=error.code) for actor in actors])

    await transact(gateway_of(request).pool, write)
    return error


async def _actors(conn: Conn, who: Person | SignedIn | None) -> list[Membership | Actor]:
    match who:
        case None:
            return [_STRANGER]
        case Person(id=person_id, email=email):
            only = None
        case SignedIn(person_id=person_id, email=email, org_id=only):
            pass
    joined: list[Membership | Actor] = [*await memberships_of(conn, person_id, only)]
    return joined or [Actor("member", str(person_id), email)]


def _action(request: HttpRequest, by: Membership | Actor, name: str, *, org_id: UUID = PLATFORM, **said: Any) -> Action:  # noqa: ANN401 – handed on by name
    member = by if isinstance(by, Membership) else None
    actor = Actor("member", str(member.member_id), member.email) if member else by
    assert isinstance(actor, Actor)
    origin = Origin(client_address(request) or None, answering.get(None))
    return Action(org_id=member.org_id if member else org_id, actor=actor, name=name, object_id=actor.id, origin=origin, **said)
