"""Begin, find, list and end sessions. Each request reads its row, so what is ended here has ended everywhere."""

from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access.model import token_hash
from gateway.errors import NotFound
from gateway.people import sql
from gateway.people.model import HALF_S, IDLE_S, LIFETIME_S, SEEN_EVERY_S, Place, Session, SignedIn, Stage, new_secret


async def begin_session(conn: Conn, person_id: UUID, stage: Stage, place: Place, *, org_id: UUID | None = None) -> str:
    """The secret of a new session, shown this once: never one that was there before, so that none can be planted."""
    token = new_secret("session")
    lifetime_s = LIFETIME_S if stage == "full" else HALF_S
    head = (person_id, new_id(), token_hash(token), stage, org_id)
    await sql.ADD_SESSION.run(conn, *head, place.address or None, place.agent or None, lifetime_s)
    return token


async def find_session(conn: Conn, token: str) -> SignedIn | None:
    """None for one that is unknown, has ended or was idle too long."""
    found = await sql.SIGNED_IN.maybe(conn, token_hash(token), IDLE_S, SEEN_EVERY_S)
    if found is not None and found.unseen:
        await sql.SEEN.run(conn, found.person_id, found.id)
    return found


async def list_sessions(conn: Conn, person_id: UUID, *, org_id: UUID | None = None, also_own: bool = False) -> list[Session]:
    """The newest first; with `org_id` those of that organization's provider, and with `also_own` those of no provider too."""
    return await sql.SESSIONS.all(conn, person_id, org_id, IDLE_S, also_own)


async def end_session(conn: Conn, person_id: UUID, session_id: UUID, *, org_id: UUID | None = None) -> None:
    """With `org_id` only one of that organization's provider. Raises NotFound."""
    if await sql.END_SESSION.run(conn, person_id, session_id, org_id) == 0:
        raise NotFound(f"there is no session {session_id} of yours")


async def end_sessions(conn: Conn, person_id: UUID, *, org_id: UUID | None = None) -> int:
    """All of them; with `org_id` all that open this organization. Returns how many."""
    return await sql.END_SESSIONS.run(conn, person_id, org_id)
