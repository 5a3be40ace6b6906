"""End keys: one that somebody asked for, and all that were found where they should not be."""

from collections.abc import Iterable
from uuid import UUID

import msgspec

from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.keys import read_key
from gateway.access.model import Key, token_hash, well_formed


async def revoke_key(conn: Conn, org_id: UUID, key_id: UUID) -> Key:
    """Both its secrets are dead. Revoking again keeps the first moment. Raises NotFound."""
    await sql.REVOKE_KEY.run(conn, org_id, key_id, "asked")
    return await read_key(conn, org_id, key_id)


class Leaked(msgspec.Struct, frozen=True):
    """A key that was ended because it was found."""

    org_id: UUID
    key_id: UUID
    name: str
    token: str


async def revoke_leaked(conn: Conn, tokens: Iterable[str]) -> list[Leaked]:
    """Whoever holds a key may end it. Returns those that were not revoked until now."""
    by_hash = {token_hash(token): token for token in tokens if could_be_key(token)}
    rows = await sql.REVOKE_LEAKED.all(conn, list(by_hash)) if by_hash else []
    return [Leaked(row.org_id, row.id, row.name, by_hash.get(row.hash) or by_hash[row.previous_hash or b""]) for row in rows]


def could_be_key(token: str) -> bool:
    """By its checksum alone, so that the answer does not tell an unknown key from a valid or a revoked one."""
    return well_formed(token) or well_formed(token, "management")
