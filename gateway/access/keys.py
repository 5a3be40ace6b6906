"""Issue, list, read and change API keys."""

from uuid import UUID

import msgspec

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Key, KeyKind, KeySettings, hint, new_token, token_hash
from gateway.access.scopes import SCOPES, Scopes
from gateway.errors import Conflict, InvalidRequest, NotFound


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
    """An inference key that is not restricted; see `add_key`."""
    settings = KeySettings(name=name, lenient=lenient)
    return await add_key(conn, org_id, settings, livemode=livemode, project=project, valid_days=valid_days)


async def issue_management_key(
    conn: Conn, org_id: UUID, *, name: str, scopes: Scopes, valid_days: int | None = None
) -> tuple[UUID, str]:
    """A management key that may be used from anywhere; see `add_key`."""
    settings = KeySettings(name=name, scopes=tuple(scope for scope in SCOPES if scope in scopes))
    return await add_key(conn, org_id, settings, kind="management", valid_days=valid_days)


async def add_key(
    conn: Conn,
    org_id: UUID,
    settings: KeySettings,
    *,
    kind: KeyKind = "inference",
    livemode: bool = True,
    project: UUID | str = "default",
    valid_days: int | None = None,
) -> tuple[UUID, str]:
    """Returns (key id, token). The token is shown this once: only its hash is stored. `project`, by id or name, is for inference
    keys. Raises NotFound for the project, InvalidRequest for what such a key cannot be.
    """
    settings.check(kind)
    project_id = None
    if kind == "inference":
        by = sql.PROJECT_WITH_ID if isinstance(project, UUID) else sql.PROJECT_NAMED
        found = await by.maybe(conn, org_id, project)
        if found is None or found.archived_at is not None:
            raise NotFound(f"there is no project {str(project)!r}, or it is archived")
        project_id = found.id
    token, key_id = new_token(kind, livemode=livemode), new_id()
    expires_at = settings.expires_at
    head = (org_id, key_id, kind, project_id, livemode, token_hash(token), hint(token))
    if await sql.ADD_KEY.run(conn, *head, *_columns(settings), expires_at, valid_days) == 0:
        raise _past(settings)
    return key_id, token


async def list_keys(
    conn: Conn,
    org_id: UUID,
    *,
    limit: int = 1000,
    after: UUID | None = None,
    project_id: UUID | None = None,
    kind: str | None = None,
) -> list[Key]:
    """The newest first."""
    return await sql.KEYS.all(conn, org_id, after, project_id, kind, limit)


async def read_key(conn: Conn, org_id: UUID, key_id: UUID, *, lock: bool = False) -> Key:
    """`lock` keeps others from changing it until the transaction ends. Raises NotFound."""
    found = await (sql.LOCKED_KEY if lock else sql.KEY).maybe(conn, org_id, key_id)
    if found is None:
        raise NotFound(f"there is no key {key_id}")
    return found


async def change_key(conn: Conn, org_id: UUID, key: Key, settings: KeySettings) -> Key:
    """Every process follows within `auth_ttl_ms`. Raises Conflict for a revoked key, InvalidRequest for what it cannot be."""
    if key.state == "revoked":
        raise Conflict("this key is revoked, and stays so; create another")
    settings.check("management" if key.kind == "management" else "inference")
    if await sql.CHANGE_KEY.run(conn, org_id, key.id, *_columns(settings), settings.expires_at) == 0:
        raise _past(settings)
    return await read_key(conn, org_id, key.id)


def _columns(settings: KeySettings) -> tuple[object, ...]:
    return (
        settings.name,
        settings.lenient,
        list(settings.scopes),
        msgspec.json.encode(settings.labels),
        settings.end_user,
        msgspec.json.encode(settings.restrictions),
    )


def _past(settings: KeySettings) -> InvalidRequest:
    return InvalidRequest(f"expires_at must lie in the future; got {settings.expires_at}", param="expires_at")
