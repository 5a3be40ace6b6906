"""Issue, list and revoke API keys."""

from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Key, hint, new_token, token_hash
from gateway.errors import NotFound


async def issue_key(
    conn: Conn,
    org_id: UUID,
    *,
    name: str,
    livemode: bool,
    project: str = "default",
    lenient: bool = False,
    valid_days: int | None = None,
) -> tuple[UUID, str]:
    """Returns (key id, token). The token is shown this once: only its hash is stored. Raises NotFound for the project."""
    found = await sql.PROJECT.maybe(conn, org_id, project)
    if found is None:
        raise NotFound(f"there is no project {project!r}")
    token, key_id = new_token(livemode=livemode), new_id()
    await sql.ADD_KEY.run(conn, org_id, key_id, found.id, name, token_hash(token), hint(token), livemode, lenient, valid_days)
    return key_id, token


async def list_keys(conn: Conn, org_id: UUID) -> list[Key]:
    return await sql.KEYS.all(conn, org_id)


async def revoke_key(conn: Conn, org_id: UUID, key_id: UUID) -> None:
    """Revoking again keeps the first moment. Raises NotFound."""
    if await sql.REVOKE_KEY.run(conn, org_id, key_id) == 0:
        raise NotFound(f"there is no key {key_id}")
