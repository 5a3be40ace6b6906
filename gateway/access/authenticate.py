"""Authenticate: from a token to a caller."""

from collections.abc import Sequence
from time import monotonic

from billing.kit.batch import Coalescer
from billing.kit.query import Conn, Pool
from billing.ledger.model import wallet_id
from gateway.access import sql
from gateway.access.model import Caller, labels_of, token_hash, well_formed
from gateway.access.restrictions import restrictions_of
from gateway.access.uses import KeyUses
from gateway.errors import Unauthenticated

_REMEMBERED_MAX = 10_000


class Authenticator:
    """Answers from a reading of the database at most `ttl_s` old, so a revoked key is dead everywhere within that time.

    There is no cache to invalidate: an answer that cannot be renewed is refused, also when the database is away.
    Money does not rest on it: the admission transaction reads the key again (`refuse_revoked`).
    """

    def __init__(self, pool: Pool, uses: KeyUses, *, ttl_s: float) -> None:
        self._pool, self._uses, self._ttl_s = pool, uses, ttl_s
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        self._lookups = Coalescer("keys", self._look_up)

    async def caller(self, token: str) -> Caller:
        """Raises Unauthenticated, with one answer for unknown, expired and revoked."""
        digest, asked_at = token_hash(token), monotonic()
        known = self._remembered.get(digest)
        if known is not None and asked_at - known[1] < self._ttl_s:
            return known[0]
        if not well_formed(token):
            raise Unauthenticated
        caller = await self._lookups.submit(digest)
        if caller is None:
            self._remembered.pop(digest, None)
            raise Unauthenticated
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[digest] = (caller, asked_at)
        self._uses.note(caller.org_id, caller.key_id)
        return caller

    async def _look_up(self, digests: Sequence[bytes]) -> list[Caller | None]:
        async with self._pool.acquire(timeout=5) as conn:
            rows = await sql.VALID_KEYS.all(conn, list(set(digests)))
        found = {row.hash: _caller(row) for row in rows}
        return [found.get(digest) for digest in digests]


async def refuse_revoked(conn: Conn, callers: Sequence[Caller]) -> list[Unauthenticated | None]:
    """The exact check, inside the admission transaction: None for each caller whose key is valid now."""
    pairs = {(caller.org_id, caller.key_id) for caller in callers}
    rows = await sql.STILL_VALID.all(conn, [org_id for org_id, _ in pairs], [key_id for _, key_id in pairs])
    valid = {row.id for row in rows}
    return [None if caller.key_id in valid else Unauthenticated() for caller in callers]


def _caller(row: sql.KeyRow) -> Caller:
    wallet = wallet_id(row.org_id, "live" if row.livemode else "test", row.currency)
    return Caller(
        row.org_id,
        row.project_id,
        row.key_id,
        row.livemode,
        row.lenient,
        row.currency,
        wallet,
        labels=labels_of(row.labels),
        end_user=row.end_user,
        restrictions=restrictions_of(row.restrictions),
    )
