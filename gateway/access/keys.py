"""Issue, list and revoke API keys."""

from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Key, hint, new_token, token_hash
from gateway.access.scopes import SCOPES, Scopes
from gateway.errors import InvalidRequest, NotFound


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
    found = await sql.PROJECT_NAMED.maybe(conn, org_id, project)
    if found is None or found.archived_at is not None:
        raise NotFound(f"there is no project {project!r}, or it is archived")
    token, key_id = new_token(livemode=livemode), new_id()
    await sql.ADD_KEY.run(conn, org_id, key_id, found.id, name, token_hash(token), hint(token), livemode, lenient, valid_days)
    return key_id, token


async def issue_management_key(
    conn: Conn, org_id: UUID, *, name: str, scopes: Scopes, valid_days: int | None = None
) -> tuple[UUID, str]:
    """Returns (key id, token), the token this once. Raises InvalidRequest where no scope is given."""
    if not scopes:
        raise InvalidRequest(f"say what the key may do: {', '.join(SCOPES)}", param="scopes")
    token, key_id = new_token("management"), new_id()
    await sql.ADD_MANAGEMENT_KEY.run(
        conn, org_id, key_id, name, token_hash(token), hint(token), sorted(scopes), b"{}", valid_days
    )
    return key_id, token


async def list_keys(conn: Conn, org_id: UUID) -> list[Key]:
    return await sql.KEYS.all(conn, org_id)


async def revoke_key(conn: Conn, org_id: UUID, key_id: UUID) -> None:
    """Revoking again keeps the first moment. Raises NotFound."""
    if await sql.REVOKE_KEY.run(conn, org_id, key_id, "asked") == 0:
        raise NotFound(f"there is no key {key_id}")
