"""Verify that no entry of the trail was changed, removed, put in or moved."""

from uuid import UUID

from billing.kit.query import Conn
from billing.ledger.chain import GENESIS, Head
from billing.ledger.model import Finding
from gateway.audit import sql
from gateway.audit.model import Entry, digest_of

_FINDINGS_MAX = 100


async def head_of(conn: Conn, org_id: UUID) -> Head:
    """The end of the organization's chain; kept elsewhere it fixes everything before it."""
    end = await sql.END.one(conn, org_id)
    return Head(end.position or 0, end.digest or GENESIS)


async def verify_trails(conn: Conn) -> list[Finding]:
    """Every broken link of every organization's trail, at most 100."""
    findings: list[Finding] = []
    for chain in await sql.CHAINS.all(conn):
        findings += await verify_trail(conn, chain.org_id)
    return findings[:_FINDINGS_MAX]


async def verify_trail(conn: Conn, org_id: UUID, kept: Head | None = None, batch: int = 5000) -> list[Finding]:
    """Every broken link, at most 100, and whether the chain leads through a head that was `kept`.

    Each entry is compared with the digest stored before it, so one changed entry is one finding; whoever also wrote the
    digests behind it anew, or cut off the end, is found by the kept head. Run it in a REPEATABLE READ transaction.
    """
    findings: list[Finding] = []
    before = Head(0, GENESIS)
    passed = kept is None or kept == before
    while len(findings) < _FINDINGS_MAX and (rows := await sql.CHAIN.all(conn, org_id, before.position, batch)):
        for row in rows:
            findings += _link(before, row)
            before = Head(row.position, row.digest)
            passed = passed or before == kept
    if not passed:
        findings.append(Finding("trail_leads_through_the_kept_head", str(kept), f"the trail of {org_id} ends at {before}"))
    return findings[:_FINDINGS_MAX]


def _link(before: Head, row: Entry) -> list[Finding]:
    if row.position != before.position + 1:
        return [Finding("trail_is_numbered", str(row.org_id), f"{row.position} follows {before.position}")]
    if row.digest != digest_of(row, before.digest):
        return [Finding("trail_is_unchanged", str(row.org_id), f"position {row.position}")]
    return []
