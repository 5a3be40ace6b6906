"""Give a key a new secret, while the one before still works for a while."""

from uuid import UUID

from billing.kit.query import Conn
from gateway.access import sql
from gateway.access.model import Key, hint, new_token, token_hash
from gateway.errors import Conflict

OVERLAP_S_MAX = 30 * 86400


async def rotate_key(conn: Conn, org_id: UUID, key: Key, *, overlap_s: int) -> str:
    """Returns the new token, shown this once. The secret before works for `overlap_s` more; one still older is dead at once.

    The key keeps its id, its quotas and its usage. Raises Conflict for a key that is revoked or has expired.
    """
    if key.state != "valid":
        raise Conflict(f"this key is {key.state}; create another")
    token = new_token("management" if key.kind == "management" else "inference", livemode=key.livemode)
    await sql.ROTATE_KEY.run(conn, org_id, key.id, token_hash(token), hint(token), overlap_s)
    return token
