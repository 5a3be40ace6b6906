"""From a management key to who may manage what."""

from collections.abc import Iterable
from typing import cast

from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Actor, Manager, token_hash, well_formed
from gateway.access.restrictions import restrictions_of
from gateway.access.scopes import SCOPES, Scope, Scopes
from gateway.errors import Forbidden, Unauthenticated


async def find_manager(conn: Conn, token: str) -> Manager:
    """Reads the key anew each time, so that a revoked one is dead at once.

    Raises Unauthenticated, with one answer for unknown, expired and revoked.
    """
    row = await sql.MANAGER.maybe(conn, token_hash(token)) if well_formed(token, "management") else None
    if row is None:
        raise Unauthenticated
    scopes = cast("Scopes", frozenset(row.scopes) & frozenset(SCOPES))
    return Manager(row.org_id, Actor("key", row.key_id, row.name), scopes, restrictions_of(row.restrictions))


def require_within(manager: Manager, scopes: Iterable[Scope]) -> None:
    """Nobody gives, or takes over, what they do not have. Raises Forbidden."""
    beyond = [scope for scope in SCOPES if scope in set(scopes) - manager.scopes]
    if beyond:
        raise Forbidden(
            f"{manager.actor.name!r} does not have {', '.join(beyond)}, and so cannot give or take them", param="scopes"
        )
