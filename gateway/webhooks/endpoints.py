"""Add, list, change and remove endpoints; replace their secrets."""

from collections.abc import Sequence
from uuid import UUID

from billing.kit.ids import new_id
from billing.kit.query import Conn
from gateway.errors import InvalidRequest, NotFound
from gateway.webhooks import sql
from gateway.webhooks.model import ENDPOINTS_MAX, OVERLAP_S, Endpoint


async def add_endpoint(
    conn: Conn, org_id: UUID, *, livemode: bool, url: str | None, form: str, events: Sequence[str] = (), description: str = ""
) -> Endpoint:
    """Without a `url` it is a listener, which fetches. Raises InvalidRequest beyond ENDPOINTS_MAX."""
    await sql.LOCK_ENDPOINTS.run(conn, org_id)
    kind = "listener" if url is None else "url"
    added = await sql.ADD_ENDPOINT.maybe(
        conn, org_id, new_id(), livemode, kind, url, form, list(events), description, ENDPOINTS_MAX
    )
    if added is None:
        raise InvalidRequest(f"an organization has at most {ENDPOINTS_MAX} endpoints; remove one first")
    return added


async def list_endpoints(conn: Conn, org_id: UUID) -> list[Endpoint]:
    """All of them, ENDPOINTS_MAX at most, the newest first; without those that stand for callbacks."""
    return await sql.ENDPOINTS.all(conn, org_id)


async def find_endpoint(conn: Conn, org_id: UUID, endpoint_id: UUID, *, lock: bool = False) -> Endpoint:
    """Raises NotFound."""
    return _found(await (sql.LOCKED_ENDPOINT if lock else sql.ENDPOINT).maybe(conn, org_id, endpoint_id))


async def callbacks_of(conn: Conn, org_id: UUID, *, livemode: bool) -> Endpoint:
    """The endpoint that stands for the addresses which requests name themselves."""
    await sql.ADD_CALLBACKS.run(conn, org_id, livemode)
    return await sql.CALLBACKS.one(conn, org_id, livemode)


async def change_endpoint(
    conn: Conn,
    endpoint: Endpoint,
    *,
    url: str | None = None,
    form: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Endpoint:
    """What is None stays as it is; enabling forgets the failures. Raises InvalidRequest, NotFound."""
    if url is not None and endpoint.kind != "url":
        raise InvalidRequest("this endpoint has no url of its own", param="url")
    listed = None if events is None else list(events)
    changed = await sql.CHANGE_ENDPOINT.maybe(conn, endpoint.org_id, endpoint.id, url, form, listed, description, enabled)
    return _found(changed)


async def rotate_secret(conn: Conn, endpoint: Endpoint, *, overlap_s: int = OVERLAP_S) -> Endpoint:
    """From now on there is a new secret; for `overlap_s` the old one is valid beside it. Raises NotFound."""
    return _found(await sql.ROTATE.maybe(conn, endpoint.org_id, endpoint.id, overlap_s))


async def remove_endpoint(conn: Conn, endpoint: Endpoint) -> None:
    """With all its deliveries. Raises InvalidRequest for the one that stands for callbacks."""
    if endpoint.kind == "callbacks":
        raise InvalidRequest("the endpoint that stands for callbacks cannot be removed; disable it instead", param="webhook_id")
    await sql.REMOVE_ENDPOINT.run(conn, endpoint.org_id, endpoint.id)


def _found(row: Endpoint | None) -> Endpoint:
    if row is None:
        raise NotFound
    return row
