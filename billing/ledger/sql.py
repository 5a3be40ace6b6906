"""Every statement of the ledger. Row locks are always taken in this order: holds by id, then balances by account id."""

from billing.kit.query import Command, Query
from billing.ledger.model import Added, Balance, Finding, HoldRow, StatementLine, WalletState

LOCK_WALLETS = Query(
    Balance,
    """
    SELECT account_id, wallet_id, posted_micro, held_micro, floor_micro
    FROM billing.balance WHERE wallet_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE
    """,
)

LOCK_ACCOUNTS = Query(
    Balance,
    """
    SELECT account_id, wallet_id, posted_micro, held_micro, floor_micro
    FROM billing.balance WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR UPDATE
    """,
)

INSERT_HOLDS = Query(
    Added,
    """
    WITH added AS (
        INSERT INTO billing.hold (id, seq, account_id, amount_micro)
        SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::bigint[])
        ON CONFLICT (id, seq) DO NOTHING
        RETURNING id, account_id, amount_micro
    ), moved AS (
        UPDATE billing.balance b SET held_micro = held_micro + s.total
        FROM (SELECT account_id, sum(amount_micro)::bigint AS total FROM added GROUP BY account_id) s
        WHERE b.account_id = s.account_id
    )
    SELECT id FROM added
    """,
)

FIND_HOLDS = Query(
    HoldRow,
    """
    SELECT h.id, h.seq, h.account_id, a.asset, h.amount_micro, h.captured_micro, h.state
    FROM billing.hold h JOIN billing.account a ON a.id = h.account_id
    WHERE h.id = ANY($1::uuid[]) ORDER BY h.id, h.seq
    """,
)

LOCK_HOLDS = Query(
    HoldRow,
    """
    SELECT h.id, h.seq, h.account_id, a.asset, h.amount_micro, h.captured_micro, h.state
    FROM billing.hold h JOIN billing.account a ON a.id = h.account_id
    WHERE h.id = ANY($1::uuid[]) ORDER BY h.id, h.seq FOR UPDATE OF h
    """,
)

END_HOLDS = Command("""
    WITH ended AS (
        UPDATE billing.hold h SET state = u.state, captured_micro = u.captured, ended_at = clock_timestamp()
        FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::bigint[]) AS u (id, seq, state, captured)
        WHERE h.id = u.id AND h.seq = u.seq AND h.state = 'held'
        RETURNING h.account_id, h.amount_micro, u.captured
    )
    UPDATE billing.balance b SET held_micro = held_micro - s.held, posted_micro = posted_micro - s.captured
    FROM (SELECT account_id, sum(amount_micro)::bigint AS held, sum(captured)::bigint AS captured
          FROM ended GROUP BY account_id) s
    WHERE b.account_id = s.account_id
""")

POST_TRANSFERS = Command("""
    INSERT INTO billing.transfer (id, kind, subject_id, payload)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[])
""")

POST_ENTRIES = Command("""
    INSERT INTO billing.entry (transfer_id, leg, account_id, asset, amount_micro)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::bigint[])
""")

ADD_TRANSFER = Command("""
    INSERT INTO billing.transfer (id, kind, subject_id, payload) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING
""")

SAME_TRANSFER = Command("""
    SELECT 1 FROM billing.transfer WHERE id = $1 AND kind = $2 AND subject_id = $3 AND payload = $4
""")

ADD_WALLET = Command("""
    INSERT INTO billing.wallet (id, customer_id, book, asset) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
""")

ADD_ACCOUNT = Command("""
    INSERT INTO billing.account (id, path, book, asset, wallet_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
""")

ADD_BALANCE = Command("""
    INSERT INTO billing.balance (account_id, wallet_id, floor_micro) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
""")

CREDIT_BALANCE = Command("UPDATE billing.balance SET posted_micro = posted_micro + $2 WHERE account_id = $1")

WALLETS = Query(
    WalletState,
    """
    SELECT w.id AS wallet_id, w.book, w.asset, sum(b.posted_micro)::bigint AS posted_micro,
           sum(b.held_micro)::bigint AS held_micro
    FROM billing.wallet w JOIN billing.balance b ON b.wallet_id = w.id
    WHERE w.customer_id = $1 GROUP BY w.id, w.book, w.asset ORDER BY w.book, w.asset
    """,
)

LINES_OF_SUBJECT = Query(
    StatementLine,
    """
    SELECT to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, t.kind, a.path AS account, e.amount_micro,
           e.asset, t.subject_id
    FROM billing.transfer t JOIN billing.entry e ON e.transfer_id = t.id JOIN billing.account a ON a.id = e.account_id
    WHERE t.subject_id = $1 ORDER BY t.created_at, t.id, e.leg
    """,
)

# Each of these returns no row on a sound ledger.
UNBALANCED_TRANSFERS = Query(
    Finding,
    """
    SELECT 'transfer_sums_to_zero' AS rule, transfer_id::text AS subject, asset || ' ' || sum(amount_micro)::text AS detail
    FROM billing.entry GROUP BY transfer_id, asset HAVING sum(amount_micro) <> 0 LIMIT 100
    """,
)
WRONG_POSTED = Query(
    Finding,
    """
    SELECT 'balance_equals_entries' AS rule, b.account_id::text AS subject,
           'posted ' || b.posted_micro || ', entries ' || coalesce(sum(e.amount_micro), 0) AS detail
    FROM billing.balance b LEFT JOIN billing.entry e ON e.account_id = b.account_id
    GROUP BY b.account_id HAVING b.posted_micro <> coalesce(sum(e.amount_micro), 0) LIMIT 100
    """,
)
WRONG_HELD = Query(
    Finding,
    """
    SELECT 'held_equals_open_holds' AS rule, b.account_id::text AS subject,
           'held ' || b.held_micro || ', open holds ' || coalesce(sum(h.amount_micro), 0) AS detail
    FROM billing.balance b LEFT JOIN billing.hold h ON h.account_id = b.account_id AND h.state = 'held'
    GROUP BY b.account_id HAVING b.held_micro <> coalesce(sum(h.amount_micro), 0) LIMIT 100
    """,
)
WRONG_CAPTURES = Query(
    Finding,
    """
    SELECT 'captured_once_in_full' AS rule, h.id::text AS subject,
           'hold says ' || h.captured || ', ' || count(DISTINCT t.id) || ' transfer(s) say '
           || coalesce(sum(e.amount_micro), 0) AS detail
    FROM (SELECT id, sum(captured_micro) AS captured, min(state) AS state FROM billing.hold GROUP BY id) h
    LEFT JOIN billing.transfer t ON t.subject_id = h.id AND t.kind = 'capture'
    LEFT JOIN billing.entry e ON e.transfer_id = t.id AND e.amount_micro > 0
    GROUP BY h.id, h.captured, h.state
    HAVING count(DISTINCT t.id) <> (CASE WHEN h.state = 'captured' THEN 1 ELSE 0 END)
        OR coalesce(sum(e.amount_micro), 0) <> h.captured LIMIT 100
    """,
)
WRONG_DRAWS = Query(
    Finding,
    """
    SELECT 'captured_from_its_draws' AS rule, h.id::text AS subject,
           h.account_id || ': hold says ' || h.captured_micro || ', entries ' || -coalesce(sum(e.amount_micro), 0) AS detail
    FROM billing.hold h
    LEFT JOIN billing.transfer t ON t.subject_id = h.id AND t.kind = 'capture'
    LEFT JOIN billing.entry e ON e.transfer_id = t.id AND e.account_id = h.account_id
    GROUP BY h.id, h.account_id, h.captured_micro
    HAVING h.captured_micro <> -coalesce(sum(e.amount_micro), 0) LIMIT 100
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
