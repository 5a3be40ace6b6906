"""The hash chain: transfers and their entries are sealed after the fact, so that history cannot be rewritten unseen.

digest_n = SHA-256(digest_n−1 ‖ canonical bytes of the nth transfer). Sealing is no part of any charge: a batch at a time, by
one process, in an order that no transaction still running can slip into (docs/decisions/0014). Whoever keeps a head (a
position and its digest) elsewhere, signed or printed, can later tell whether everything up to it is still the same.
"""

import re
from hashlib import sha256
from uuid import UUID

import msgspec

from billing.kit.query import Command, Conn, Query
from billing.ledger.model import Finding

GENESIS = bytes(32)
_LOCK = 7_281_330_150
_FINDINGS_MAX = 100


class Head(msgspec.Struct, frozen=True):
    """Everything up to `position` is fixed by `digest`. Written `position:hex`."""

    position: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Raises ValueError."""
        found = re.fullmatch(r"(\d+):([0-9a-f]{64})", text)
        if found is None:
            raise ValueError(f"{text!r} is no head; it looks like 42:<64 hex digits>")
        return cls(int(found[1]), bytes.fromhex(found[2]))


class Seal(msgspec.Struct, frozen=True):
    """One link: the transfer at a position of the order (xid, transfer id)."""

    position: int
    xid: int
    transfer_id: UUID
    digest: bytes

    @property
    def head(self) -> Head:
        return Head(self.position, self.digest)


class Unsealed(msgspec.Struct, frozen=True):
    xid: int
    id: UUID
    canonical: str


class Sealed(msgspec.Struct, frozen=True):
    """A seal and what its transfer is now; `canonical` is null where that is gone."""

    position: int
    xid: int
    transfer_id: UUID
    digest: bytes
    canonical: str | None


FIRST = Seal(0, 0, UUID(int=0), GENESIS)

LOCK = Command("SELECT pg_advisory_xact_lock($1)")

LAST = Query(
    Seal, "SELECT position, xid::text::bigint AS xid, transfer_id, digest FROM billing.seal ORDER BY position DESC LIMIT 1"
)

# JSON is unambiguous and jsonb writes the same text for the same content: that is all that is asked of canonical bytes.
_CANONICAL = """
    jsonb_build_array(t.id, t.kind, t.subject_id, t.payload, t.xid::text,
        (extract(epoch FROM t.created_at) * 1000000)::bigint,
        (SELECT jsonb_agg(jsonb_build_array(e.leg, e.account_id, a.path, e.asset, e.amount,
                                            (extract(epoch FROM e.booked_at) * 1000000)::bigint) ORDER BY e.leg)
         FROM billing.entry e LEFT JOIN billing.account a ON a.id = e.account_id WHERE e.transfer_id = t.id))::text
"""

# Transactions older than the snapshot's xmin have all ended, so nothing can appear among what is sealed.
UNSEALED = Query(
    Unsealed,
    "SELECT t.xid::text::bigint AS xid, t.id, " + _CANONICAL + """ AS canonical
    FROM billing.transfer t
    WHERE t.xid < pg_snapshot_xmin(pg_current_snapshot()) AND (t.xid, t.id) > ($1::bigint::text::xid8, $2::uuid)
    ORDER BY t.xid, t.id LIMIT $3
    """,
)  # fmt: skip

ADD_SEALS = Command("""
    INSERT INTO billing.seal (position, xid, transfer_id, digest)
    SELECT u.position, u.xid::text::xid8, u.transfer_id, u.digest
    FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bytea[]) AS u (position, xid, transfer_id, digest)
""")

SEALED = Query(
    Sealed,
    "SELECT s.position, s.xid::text::bigint AS xid, s.transfer_id, s.digest, " + _CANONICAL + """ AS canonical
    FROM billing.seal s LEFT JOIN billing.transfer t ON t.id = s.transfer_id AND t.xid = s.xid
    WHERE s.position > $1 ORDER BY s.position LIMIT $2
    """,
)  # fmt: skip

# What stands where everything is sealed already, or where no transaction can have put it.
SLIPPED_IN = Query(
    Finding,
    """
    SELECT 'transfer_is_sealed' AS rule, t.id::text AS subject, t.kind AS detail
    FROM billing.transfer t LEFT JOIN billing.seal s ON s.transfer_id = t.id
    WHERE s.position IS NULL
      AND ((t.xid, t.id) <= ($1::bigint::text::xid8, $2::uuid) OR t.xid >= pg_snapshot_xmax(pg_current_snapshot()))
    LIMIT 100
    """,
)


async def seal(conn: Conn, limit: int = 2000) -> int:
    """Seals at most `limit` transfers, in the caller's transaction, behind all others that seal. Returns how many."""
    await LOCK.run(conn, _LOCK)
    last = await _last(conn)
    digest = last.digest
    seals: list[tuple[int, int, UUID, bytes]] = []
    for position, row in enumerate(await UNSEALED.all(conn, last.xid, last.transfer_id, limit), start=last.position + 1):
        digest = _next(digest, row.canonical)
        seals.append((position, row.xid, row.id, digest))
    if seals:
        await ADD_SEALS.run(conn, *[list(column) for column in zip(*seals, strict=True)])
    return len(seals)


async def head(conn: Conn) -> Head:
    """The end of the chain; position 0 where nothing is sealed yet."""
    return (await _last(conn)).head


async def verify_chain(conn: Conn, kept: Head | None = None, batch: int = 5000) -> list[Finding]:
    """Every broken link (at most 100), and whether the chain still leads through a head that was `kept`.

    Each link is compared with the digest stored before it, so one changed row is one finding; whoever also rewrote the
    digests behind it is found by the kept head. Run it in a REPEATABLE READ transaction.
    """
    last = await _last(conn)
    findings = await SLIPPED_IN.all(conn, last.xid, last.transfer_id)
    before: Seal | Sealed = FIRST
    read_to = -(2**63)
    passed = kept is None or kept == FIRST.head
    while len(findings) < _FINDINGS_MAX and (rows := await SEALED.all(conn, read_to, batch)):
        read_to = rows[-1].position
        for row in rows:
            findings += _link(before, row)
            before = row
            passed = passed or kept == Head(row.position, row.digest)
    if not passed:
        findings.append(Finding("chain_leads_through_the_kept_head", str(kept), f"the chain ends at {last.head}"))
    return findings[:_FINDINGS_MAX]


async def _last(conn: Conn) -> Seal:
    return await LAST.maybe(conn) or FIRST


def _link(before: Seal | Sealed, row: Sealed) -> list[Finding]:
    subject, where = str(row.transfer_id), f"position {row.position}"
    if row.position != before.position + 1:
        return [Finding("seals_are_numbered", subject, f"{row.position} follows {before.position}")]
    if row.canonical is None:
        return [Finding("sealed_transfer_exists", subject, where)]
    if row.digest != _next(before.digest, row.canonical):
        return [Finding("sealed_transfer_is_unchanged", subject, where)]
    if (row.xid, row.transfer_id) <= (before.xid, before.transfer_id):
        return [Finding("seals_are_in_order", subject, where)]
    return []


def _next(digest: bytes, canonical: str) -> bytes:
    return sha256(digest + canonical.encode()).digest()
