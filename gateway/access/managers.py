"""From a management key to who may manage what."""

from typing import cast

from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Actor, Manager, token_hash, well_formed
from gateway.access.restrictions import refuse_address, restrictions_of
from gateway.access.scopes import SCOPES, Scopes
from gateway.errors import Unauthenticated


async def find_manager(conn: Conn, token: str, address: str) -> Manager:
    """Reads the key anew each time, so that a revoked one is dead at once.

    Raises Unauthenticated, with one answer for unknown, expired and revoked; KeyRestricted for one used from elsewhere.
    """
    row = await sql.MANAGER.maybe(conn, token_hash(token)) if well_formed(token, "management") else None
    if row is None:
        raise Unauthenticated
    if (restrictions := restrictions_of(row.restrictions)) is not None:
        refuse_address(restrictions, address)
    return Manager(row.org_id, Actor("key", row.key_id, row.name), cast("Scopes", frozenset(row.scopes) & frozenset(SCOPES)))
