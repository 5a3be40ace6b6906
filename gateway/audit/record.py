"""Record: what was done stands in the trail exactly when it was committed."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from billing.kit.query import Conn
from billing.ledger.chain import GENESIS
from gateway.audit import sql
from gateway.audit.model import Action, Entry, entry_of


async def record(conn: Conn, *actions: Action) -> None:
    """Adds them in the caller's transaction, as its last step: until it ends no other can add to these organizations' trails."""
    entries: list[Entry] = []
    for org_id, of_one in groupby(sorted(actions, key=_organization), key=_organization):
        entries += await _chained(conn, org_id, list(of_one))
    if entries:
        columns = [[getattr(entry, name) for entry in entries] for name in Entry.__struct_fields__]
        await sql.ADD.run(conn, *columns)


async def _chained(conn: Conn, org_id: UUID, actions: Sequence[Action]) -> list[Entry]:
    await sql.LOCK.run(conn, org_id)
    end = await sql.END.one(conn, org_id)
    digest, entries = end.digest or GENESIS, list[Entry]()
    for position, action in enumerate(actions, start=(end.position or 0) + 1):
        entries.append(entry_of(action, position, end.at, digest))
        digest = entries[-1].digest
    return entries


def _organization(action: Action) -> UUID:
    return action.org_id
