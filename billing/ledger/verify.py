"""Prove the ledger: what may never differ is compared, in one snapshot."""

from billing.kit.query import Conn, Query
from billing.ledger.chain import Head, verify_chain
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
    SELECT CASE WHEN e.booked_at <> t.created_at THEN 'entry_has_the_moment_of_its_transfer'
                ELSE 'entry_has_transfer_and_account' END AS rule, e.transfer_id::text AS subject, e.account_id::text AS detail
    FROM billing.entry e LEFT JOIN billing.transfer t ON t.id = e.transfer_id
    LEFT JOIN billing.account a ON a.id = e.account_id AND a.asset = e.asset
    WHERE t.id IS NULL OR a.id IS NULL OR e.booked_at <> t.created_at
    UNION ALL
    SELECT 'hold_has_guarded_account', h.id::text, h.account_id::text
    FROM billing.hold h LEFT JOIN billing.balance b ON b.account_id = h.account_id WHERE b.account_id IS NULL
    UNION ALL
    SELECT t.kind || '_has_hold', t.id::text, t.subject_id::text
    FROM billing.transfer t LEFT JOIN billing.hold h ON h.id = t.subject_id
    WHERE t.kind IN ('capture', 'refund') AND h.id IS NULL
    UNION ALL
    SELECT 'wallet_account_has_grant_and_balance', a.id::text, a.path
    FROM billing.account a LEFT JOIN billing.grant g ON g.account_id = a.id AND g.wallet_id = a.wallet_id
    LEFT JOIN billing.balance b ON b.account_id = a.id AND b.wallet_id = a.wallet_id
    WHERE a.wallet_id IS NOT NULL AND (g.account_id IS NULL OR b.account_id IS NULL)
    LIMIT 100
    """,
)
WRONG_REFUNDS = Query(
    Finding,
    """
    SELECT 'refunded_once_in_full' AS rule, h.id::text AS subject,
           'hold says ' || h.refunded || ', refunds say ' || coalesce(r.asked, 0) || ' and give ' || coalesce(r.given, 0)
           AS detail
    FROM (SELECT id, sum(refunded) AS refunded FROM billing.hold GROUP BY id) h
    LEFT JOIN (
        SELECT t.subject_id, sum(e.amount) AS given,
               sum((t.payload ->> 'seconds_ms')::bigint + (t.payload ->> 'amount_micro')::bigint) AS asked
        FROM billing.transfer t
        LEFT JOIN LATERAL (
            SELECT sum(e.amount) AS amount FROM billing.entry e JOIN billing.account a ON a.id = e.account_id
            WHERE e.transfer_id = t.id AND a.wallet_id IS NOT NULL
        ) e ON true
        WHERE t.kind = 'refund' GROUP BY t.subject_id
    ) r ON r.subject_id = h.id
    WHERE h.refunded <> coalesce(r.asked, 0) OR h.refunded <> coalesce(r.given, 0) LIMIT 100
    """,
)
OVERSPENT = Query(
    Finding,
    """
    SELECT 'nothing_is_overspent' AS rule, b.account_id::text AS subject,
           'posted ' || b.posted || ', held ' || b.held || ', floor ' || b.floor AS detail
    FROM billing.balance b JOIN billing.grant g ON g.account_id = b.account_id
    WHERE b.held < 0 OR (b.posted - b.held < b.floor AND g.kind <> 'credit' AND b.floor - (b.posted - b.held) > (
        SELECT coalesce(-sum(e.amount), 0) FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id
        WHERE e.account_id = b.account_id AND t.kind IN ('cash_taken', 'share_back', 'pool_share_back'))) LIMIT 100
    """,
)
# For postpaid: the limit is the sum of its changes, and what is invoiced and not paid counts against it.
WRONG_FLOORS = Query(
    Finding,
    """
    SELECT 'floor_is_the_limit' AS rule, g.account_id::text AS subject,
           'floor ' || b.floor || ', should be ' || f.floor AS detail
    FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id JOIN billing.wallet w ON w.id = g.wallet_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN g.kind = 'credit' THEN
                -(SELECT coalesce(sum((t.payload -> 'amounts' ->> 'change')::bigint), 0) FROM billing.transfer t
                  WHERE t.subject_id = g.account_id AND t.kind = 'credit_limit')
                - (SELECT coalesce(sum(e.amount), 0) FROM billing.account a JOIN billing.entry e ON e.account_id = a.id
                   WHERE a.path = 'asset:receivable:' || w.book || ':' || w.asset || ':' || w.customer_id)
            WHEN g.kind = 'paid' AND w.book = 'test' AND g.issued IS NULL THEN -1152921504606846976
            ELSE 0 END AS floor
    ) f WHERE b.floor <> f.floor LIMIT 100
    """,
)
# Every other movement of a grant is within what it was issued with, so its largest entry is its issue.
WRONG_GRANTS = Query(
    Finding,
    """
    SELECT 'grant_is_used_within_its_issue' AS rule, g.account_id::text AS subject,
           'issued ' || g.issued || ', entries say ' || coalesce(max(e.amount), 0) || ', left ' || b.posted AS detail
    FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id
    LEFT JOIN billing.entry e ON e.account_id = g.account_id
    WHERE g.issued IS NOT NULL GROUP BY g.account_id, b.posted
    HAVING b.posted < 0 OR b.posted > g.issued OR max(e.amount) IS DISTINCT FROM g.issued LIMIT 100
    """,
)
WRONG_DEFERRALS = Query(
    Finding,
    """
    SELECT 'deferred_is_what_is_not_earned' AS rule, g.account_id::text AS subject,
           'deferred ' || d.deferred || ', should be ' || u.unearned AS detail
    FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id JOIN billing.wallet w ON w.id = g.wallet_id
    CROSS JOIN LATERAL (
        SELECT g.basis_micro - div(g.basis_micro::numeric * (g.issued - b.posted), g.issued) AS unearned
    ) u
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.amount), 0) AS deferred FROM billing.account a JOIN billing.entry e ON e.account_id = a.id
        WHERE a.path = 'liability:deferred:' || w.book || ':' || g.basis_asset || ':' || g.account_id
    ) d
    WHERE g.basis_asset IS NOT NULL AND d.deferred <> u.unearned LIMIT 100
    """,
)
WRONG_REVERSALS = Query(
    Finding,
    """
    SELECT 'reversal_is_the_opposite' AS rule, r.id::text AS subject, e.account_id || ' is off by ' || sum(e.amount) AS detail
    FROM billing.transfer r JOIN billing.entry e ON e.transfer_id IN (r.id, (r.payload ->> 'of')::uuid)
    WHERE r.kind = 'reversal' GROUP BY r.id, e.account_id HAVING sum(e.amount) <> 0 LIMIT 100
    """,
)
SOUND: tuple[Query[Finding], ...] = (
    UNBALANCED_TRANSFERS, WRONG_POSTED, WRONG_HELD, WRONG_CAPTURES, WRONG_DRAWS, SPLIT_STATES, ORPHANS, WRONG_REFUNDS,
    OVERSPENT, WRONG_FLOORS, WRONG_GRANTS, WRONG_DEFERRALS, WRONG_REVERSALS,
)  # fmt: skip


async def verify(conn: Conn, kept: Head | None = None) -> list[Finding]:
    """Every broken invariant (at most 100 per rule); empty on a sound ledger. Run it in a REPEATABLE READ transaction.

    With a head that was `kept`, also whether history still leads through it.
    """
    findings: list[Finding] = []
    for rule in SOUND:
        findings += await rule.all(conn)
    return findings + await verify_chain(conn, kept)
