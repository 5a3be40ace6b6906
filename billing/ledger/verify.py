"""Prove the ledger: what may never differ is compared, in one snapshot."""

from billing.kit.query import Conn, Query
from billing.ledger.model import Finding

# Each of these returns no row on a sound ledger.
UNBALANCED_TRANSFERS = Query(
    Finding,
    """
    SELECT 'transfer_sums_to_zero' AS rule, transfer_id::text AS subject, asset || ' ' || sum(amount)::text AS detail
    FROM billing.entry GROUP BY transfer_id, asset HAVING sum(amount) <> 0 LIMIT 100
    """,
)
WRONG_POSTED = Query(
    Finding,
    """
    SELECT 'balance_equals_entries' AS rule, b.account_id::text AS subject,
           'posted ' || b.posted || ', entries ' || coalesce(sum(e.amount), 0) AS detail
    FROM billing.balance b LEFT JOIN billing.entry e ON e.account_id = b.account_id
    GROUP BY b.account_id HAVING b.posted <> coalesce(sum(e.amount), 0) LIMIT 100
    """,
)
WRONG_HELD = Query(
    Finding,
    """
    SELECT 'held_equals_open_holds' AS rule, b.account_id::text AS subject,
           'held ' || b.held || ', open holds ' || coalesce(sum(h.amount), 0) AS detail
    FROM billing.balance b LEFT JOIN billing.hold h ON h.account_id = b.account_id AND h.state = 'held'
    GROUP BY b.account_id HAVING b.held <> coalesce(sum(h.amount), 0) LIMIT 100
    """,
)
WRONG_CAPTURES = Query(
    Finding,
    """
    SELECT 'captured_once_in_full' AS rule, h.id::text AS subject,
           'hold says ' || h.captured || ', ' || count(DISTINCT t.id) || ' transfer(s) say '
           || coalesce(sum(e.amount), 0) AS detail
    FROM (SELECT id, sum(captured) AS captured, min(state) AS state FROM billing.hold GROUP BY id) h
    LEFT JOIN billing.transfer t ON t.subject_id = h.id AND t.kind = 'capture'
    LEFT JOIN (
        SELECT e.transfer_id, e.amount FROM billing.entry e LEFT JOIN billing.account a ON a.id = e.account_id
        WHERE e.amount > 0 OR a.path LIKE 'liability:deferred:%'  -- what is earned of deferred price cancels out
    ) e ON e.transfer_id = t.id
    GROUP BY h.id, h.captured, h.state
    HAVING count(DISTINCT t.id) <> (CASE WHEN h.state = 'captured' THEN 1 ELSE 0 END)
        OR coalesce(sum(e.amount), 0) <> h.captured LIMIT 100
    """,
)
WRONG_DRAWS = Query(
    Finding,
    """
    SELECT 'captured_from_its_draws' AS rule, h.id::text AS subject,
           h.account_id || ': hold says ' || h.captured || ', entries ' || -coalesce(sum(e.amount), 0) AS detail
    FROM billing.hold h
    LEFT JOIN billing.transfer t ON t.subject_id = h.id AND t.kind = 'capture'
    LEFT JOIN billing.entry e ON e.transfer_id = t.id AND e.account_id = h.account_id
    GROUP BY h.id, h.account_id, h.captured
    HAVING h.captured <> -coalesce(sum(e.amount), 0) LIMIT 100
    """,
)
SPLIT_STATES = Query(
    Finding,
    """
    SELECT 'hold_has_one_state' AS rule, id::text AS subject, string_agg(DISTINCT state, ', ') AS detail
    FROM billing.hold GROUP BY id HAVING count(DISTINCT state) > 1 LIMIT 100
    """,
)
ORPHANS = Query(
    Finding,
    """
    SELECT 'entry_has_transfer_and_account' AS rule, e.transfer_id::text AS subject, e.account_id::text AS detail
    FROM billing.entry e LEFT JOIN billing.transfer t ON t.id = e.transfer_id
    LEFT JOIN billing.account a ON a.id = e.account_id AND a.asset = e.asset
    WHERE t.id IS NULL OR a.id IS NULL
    UNION ALL
    SELECT 'hold_has_guarded_account', h.id::text, h.account_id::text
    FROM billing.hold h LEFT JOIN billing.balance b ON b.account_id = h.account_id WHERE b.account_id IS NULL
    UNION ALL
    SELECT 'capture_has_hold', t.id::text, t.subject_id::text
    FROM billing.transfer t LEFT JOIN billing.hold h ON h.id = t.subject_id WHERE t.kind = 'capture' AND h.id IS NULL
    LIMIT 100
    """,
)
SOUND: tuple[Query[Finding], ...] = (
    UNBALANCED_TRANSFERS, WRONG_POSTED, WRONG_HELD, WRONG_CAPTURES, WRONG_DRAWS, SPLIT_STATES, ORPHANS,
)  # fmt: skip


async def verify(conn: Conn) -> list[Finding]:
    """Every broken invariant (at most 100 per rule); empty on a sound ledger. Run it in a REPEATABLE READ transaction."""
    findings: list[Finding] = []
    for rule in SOUND:
        findings += await rule.all(conn)
    return findings
