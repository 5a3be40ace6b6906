"""Prove the ledger: what may never differ is compared, in one snapshot."""

from billing.kit.query import Conn
from billing.ledger import sql
from billing.ledger.model import Finding


async def verify(conn: Conn) -> list[Finding]:
    """Every broken invariant (at most 100 per rule); empty on a sound ledger. Run it in a REPEATABLE READ transaction."""
    findings: list[Finding] = []
    for rule in sql.SOUND:
        findings += await rule.all(conn)
    return findings
