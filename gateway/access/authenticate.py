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

    Usually at once, because `forget` is told of every change; nothing rests on that. An answer that cannot be renewed is
    refused, also when the database is away. Money rests on neither: the admission transaction reads the key again
    (`refuse_revoked`).
    """

    def __init__(self, pool: Pool, uses: KeyUses, *, ttl_s: float) -> None:
        self._pool, self._uses, self._ttl_s = pool, uses, ttl_s
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        self._told = 0
        self._lookups = Coalescer("keys", self._look_up)

    async def caller(self, token: str) -> Caller:
        """Raises Unauthenticated, with one answer for unknown, expired and revoked."""
        digest, asked_at = token_hash(token), monotonic()
        known = self._remembered.get(digest)
        if known is not None and asked_at - known[1] < self._ttl_s:
            return known[0]
        if known is None and not well_formed(token):
            raise Unauthenticated
        told = self._told
        caller = await self._lookups.submit(digest)
        if caller is None:
            self._remembered.pop(digest, None)
            raise Unauthenticated
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        if told == self._told:  # else it may have been read before the change
            self._remembered[digest] = (caller, asked_at)
        self._uses.note(caller.org_id, caller.key_id)
        return caller

    def forget(self, key_id: str) -> None:
        """Reads this key anew when it comes next, or every key where it is empty: then changes may have been missed."""
        self._told += 1
        if not key_id:
            self._remembered.clear()
            return
        for digest in [digest for digest, (caller, _) in self._remembered.items() if str(caller.key_id) == key_id]:
            del self._remembered[digest]

    async def _look_up(self, digests: Sequence[bytes]) -> list[Caller | None]:
        async with self._pool.acquire(timeout=5) as conn:
            rows = await sql.VALID_KEYS.all(conn, list(set(digests)))
        found = {row.hash: _caller(row) for row in rows}
        return [found.get(digest) for digest in digests]


async def refuse_revoked(conn: Conn, callers: Sequence[Caller]) -> list[Unauthenticated | None]:
    """The exact check, inside the admission transaction: None for each caller whose key is valid now."""
    orgs = {caller.key_id: caller.org_id for caller in callers}
    refused = {row.id for row in await sql.NO_LONGER_VALID.all(conn, list(orgs.values()), list(orgs))}
    return [Unauthenticated() if caller.key_id in refused else None for caller in callers]


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
