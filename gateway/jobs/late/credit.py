"""Credit: what a missed promise gives back, exactly once."""

from billing.kit.query import Conn
from billing.ledger.grants import Issue, issue
from billing.pricing.model import decode_terms
from gateway.jobs.late import sql
from gateway.jobs.late.model import LateStart, credit_micro
from gateway.video import public_id

_ROWS_MAX = 200


async def credit_late_starts(conn: Conn, *, percent: int) -> int:
    """Opens a grant for each delivered job that started later than promised. Returns how many jobs were decided.

    In the caller's transaction; raises what `issue` raises, and then it must not be committed.
    """
    late = await sql.LATE.all(conn, _ROWS_MAX)
    amounts = [credit_micro(one, percent) for one in late]
    issues = [_issue(one, amount) for one, amount in zip(late, amounts, strict=True) if amount]
    if issues:
        await issue(conn, issues)
    if late:
        await sql.CREDITED.run(conn, [one.org_id for one in late], [one.id for one in late], amounts)
    return len(late)


def _issue(late: LateStart, amount_micro: int) -> Issue:
    return Issue(
        kind="sla",
        source=f"late-start/{public_id(late.id)}",
        customer_id=late.org_id,
        asset=decode_terms(late.terms).currency,
        amount=amount_micro,
    )
