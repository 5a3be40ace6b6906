"""Every statement of the ledger's verbs. Row locks are taken in this order: holds by id, then balances by account id."""

from datetime import datetime
from uuid import UUID

import msgspec

from billing.kit.query import Command, Query
from billing.ledger.model import Balance, Book, HoldRow, StatementLine, WalletState


class Id(msgspec.Struct, frozen=True):
    id: UUID


class Added(msgspec.Struct, frozen=True):
    """A transfer that was new, and its moment."""

    id: UUID
    at: datetime


class Alike(msgspec.Struct, frozen=True):
    """A stored transfer: the place in the question, and whether it is what was asked about."""

    nth: int
    same: bool


class Amount(msgspec.Struct, frozen=True):
    amount: int


class Payload(msgspec.Struct, frozen=True):
    """A stored transfer; `payload` is JSON."""

    id: UUID
    kind: str
    subject_id: UUID
    payload: bytes


class At(msgspec.Struct, frozen=True):
    at: datetime


class Leg(msgspec.Struct, frozen=True):
    """A stored entry with what is known of its account."""

    account_id: UUID
    asset: str
    amount: int
    path: str
    book: str


class Expired(msgspec.Struct, frozen=True):
    """A grant whose time is over while something is left that no hold keeps."""

    account_id: UUID
    customer_id: UUID
    book: Book
    asset: str
    expires_at: datetime


_BALANCE = """
    b.account_id, b.wallet_id, g.kind, g.priority, g.starts_at, g.expires_at,
    g.starts_at IS NULL OR g.starts_at <= (SELECT billing.now()) AS started,
    coalesce(g.expires_at <= (SELECT billing.now()), false) AS expired,
    g.issued, g.basis_micro, g.basis_asset, g.created_at, b.posted, b.held, b.floor
"""

LOCK_WALLETS = Query(
    Balance,
    "SELECT " + _BALANCE + """
    FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id
    WHERE g.wallet_id = ANY($1::uuid[]) AND coalesce(g.expires_at, 'infinity') > (SELECT billing.now())
    ORDER BY b.account_id FOR UPDATE OF b
    """,
)  # fmt: skip

LOCK_ACCOUNTS = Query(
    Balance,
    "SELECT " + _BALANCE + """
    FROM billing.balance b JOIN billing.grant g ON g.account_id = b.account_id
    WHERE b.account_id = ANY($1::uuid[]) ORDER BY b.account_id FOR UPDATE OF b
    """,
)  # fmt: skip

# Nothing at all where one of the holds is there already. LIMIT makes that one look into the index for each.
INSERT_HOLDS = Query(
    Amount,
    """
    WITH added AS (
        INSERT INTO billing.hold (id, seq, account_id, request, amount)
        SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::bytea[], $5::bigint[])
        WHERE NOT EXISTS (
            SELECT FROM unnest($1::uuid[]) AS u (id) JOIN LATERAL (SELECT FROM billing.hold h WHERE h.id = u.id LIMIT 1) h ON true
        )
        ON CONFLICT (id, seq) DO NOTHING
        RETURNING account_id, amount
    ), moved AS (
        UPDATE billing.balance b SET held = b.held + s.total
        FROM (SELECT account_id, sum(amount)::bigint AS total FROM added GROUP BY account_id) s
        WHERE b.account_id = s.account_id
    )
    SELECT count(*) AS amount FROM added
    """,
)

_HOLD = """
    SELECT h.id, h.seq, h.account_id, g.wallet_id, g.kind, a.book, a.asset, h.request, h.amount, h.captured, h.refunded,
           h.state, CASE WHEN g.starts_at > h.created_at THEN g.starts_at END AS starts_at
    FROM billing.hold h
    JOIN billing.account a ON a.id = h.account_id JOIN billing.grant g ON g.account_id = h.account_id
    WHERE h.id = ANY($1::uuid[]) ORDER BY h.id, h.seq
"""
FIND_HOLDS = Query(HoldRow, _HOLD)
LOCK_HOLDS = Query(HoldRow, _HOLD + " FOR UPDATE OF h")

# One moment for all of it: what a transfer and its entries say. Holds are looked up by their id: asked for by their state, the
# planner would read the index of open ones, through all that have ended since it was last vacuumed, or expect hardly any row. Of
# a CASE it expects nothing.
CAPTURE = Command("""
    WITH now AS MATERIALIZED (
        SELECT billing.now() AS at
    ), ended AS (
        UPDATE billing.hold h SET state = 'captured', captured = u.captured, ended_at = (SELECT at FROM now)
        FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS u (id, seq, captured)
        WHERE h.id = u.id AND h.seq = u.seq AND CASE h.state WHEN 'held' THEN true ELSE false END
        RETURNING h.account_id, h.amount, u.captured
    ), moved AS (
        UPDATE billing.balance b SET held = b.held - s.held, posted = b.posted - s.captured
        FROM (SELECT account_id, sum(amount)::bigint AS held, sum(captured)::bigint AS captured
              FROM ended GROUP BY account_id) s
        WHERE b.account_id = s.account_id
    ), posted AS (
        INSERT INTO billing.transfer (id, kind, subject_id, payload, created_at)
        SELECT u.id, 'capture', u.subject_id, u.payload, (SELECT at FROM now)
        FROM unnest($4::uuid[], $5::uuid[], $6::jsonb[]) AS u (id, subject_id, payload)
    )
    INSERT INTO billing.entry (transfer_id, leg, account_id, asset, amount, booked_at)
    SELECT u.*, (SELECT at FROM now) FROM unnest($7::uuid[], $8::smallint[], $9::uuid[], $10::text[], $11::bigint[]) AS u
""")

RELEASE_HOLDS = Command("""
    WITH ended AS (
        UPDATE billing.hold SET state = 'released', ended_at = billing.now()
        WHERE id = ANY($1::uuid[]) AND CASE state WHEN 'held' THEN true ELSE false END
        RETURNING account_id, amount
    )
    UPDATE billing.balance b SET held = b.held - s.held
    FROM (SELECT account_id, sum(amount)::bigint AS held FROM ended GROUP BY account_id) s
    WHERE b.account_id = s.account_id
""")

GIVE_BACK = Command("""
    UPDATE billing.hold h SET refunded = h.refunded + u.share
    FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS u (id, seq, share)
    WHERE h.id = u.id AND h.seq = u.seq
""")

FIND_TRANSFERS = Query(
    Alike,
    """
    SELECT u.nth::int, t.kind = u.kind AND t.subject_id = u.subject_id AND t.payload = u.payload AS same
    FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[]) WITH ORDINALITY AS u (id, kind, subject_id, payload, nth)
    JOIN billing.transfer t ON t.id = u.id
    """,
)

TRANSFERS = Query(Payload, "SELECT id, kind, subject_id, payload FROM billing.transfer WHERE id = ANY($1::uuid[])")

# The path of a wallet's account is left out.
LEGS = Query(
    Leg,
    """
    SELECT e.account_id, e.asset, e.amount, CASE WHEN a.wallet_id IS NULL THEN a.path ELSE '' END AS path, a.book
    FROM billing.entry e JOIN billing.account a ON a.id = e.account_id WHERE e.transfer_id = $1 ORDER BY e.leg
    """,
)

NOW = Query(At, "SELECT billing.now() AS at")

ADD_TRANSFERS = Query(
    Added,
    """
    INSERT INTO billing.transfer (id, kind, subject_id, payload)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[])
    ON CONFLICT (id) DO NOTHING RETURNING id, created_at AS at
    """,
)

POST_ENTRIES = Command("""
    WITH moved AS (
        UPDATE billing.balance b SET posted = b.posted + u.posted, floor = b.floor + u.floor
        FROM unnest($7::uuid[], $8::bigint[], $9::bigint[]) AS u (account_id, posted, floor)
        WHERE b.account_id = u.account_id
    )
    INSERT INTO billing.entry (transfer_id, leg, account_id, asset, amount, booked_at)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::bigint[], $6::timestamptz[])
""")

LOWER_FLOORS = Command("""
    UPDATE billing.balance b SET floor = b.floor - u.amount
    FROM unnest($1::uuid[], $2::bigint[]) AS u (account_id, amount) WHERE b.account_id = u.account_id
""")

ADD_PLATFORM_ACCOUNTS = Command("""
    INSERT INTO billing.account (id, path, asset, book)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING
""")

ADD_SECONDS = Command("INSERT INTO billing.asset (code, scale) VALUES ($1, 3) ON CONFLICT DO NOTHING")

HAS_ASSET = Query(Amount, "SELECT scale::int AS amount FROM billing.asset WHERE code = $1")

ADD_WALLET = Command("""
    INSERT INTO billing.wallet (id, customer_id, book, asset) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
""")

ADD_ACCOUNT = Command("""
    INSERT INTO billing.account (id, path, book, asset, wallet_id) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
""")

# Beside the account whose grant has expired.
ADD_GRACE_ACCOUNT = Command("""
    INSERT INTO billing.account (id, path, book, asset, wallet_id)
    SELECT $1, a.path || ':' || $1::uuid, a.book, a.asset, a.wallet_id FROM billing.account a WHERE a.id = $2
    ON CONFLICT DO NOTHING
""")

ADD_GRANT = Command("""
    INSERT INTO billing.grant (account_id, wallet_id, kind, priority, starts_at, expires_at, issued, basis_micro, basis_asset,
                               source)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
""")

ADD_BALANCE = Command("""
    INSERT INTO billing.balance (account_id, wallet_id, floor) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
""")

# A limit is the sum of its changes; each is a transfer without entries whose subject is the account.
CREDIT_LIMIT = Query(
    Amount,
    """
    SELECT coalesce(sum((payload -> 'amounts' ->> 'change')::bigint), 0)::bigint AS amount
    FROM billing.transfer WHERE subject_id = $1 AND kind = 'credit_limit'
    """,
)

LIST_EXPIRED = Query(
    Expired,
    """
    SELECT g.account_id, w.customer_id, w.book, w.asset, g.expires_at
    FROM billing.grant g JOIN billing.balance b ON b.account_id = g.account_id JOIN billing.wallet w ON w.id = g.wallet_id
    WHERE g.expires_at <= (SELECT billing.now()) AND b.posted > b.held
    ORDER BY g.expires_at, g.account_id LIMIT $1
    """,
)

WALLETS = Query(
    WalletState,
    """
    SELECT w.id AS wallet_id, w.book, w.asset, sum(b.posted)::bigint AS posted, sum(b.held)::bigint AS held
    FROM billing.wallet w JOIN billing.balance b ON b.wallet_id = w.id
    WHERE w.customer_id = $1 GROUP BY w.id, w.book, w.asset ORDER BY w.book, w.asset
    """,
)

LINES_OF_SUBJECT = Query(
    StatementLine,
    """
    SELECT to_char(t.created_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at, t.kind, a.path AS account, e.amount,
           e.asset, t.subject_id
    FROM billing.transfer t JOIN billing.entry e ON e.transfer_id = t.id JOIN billing.account a ON a.id = e.account_id
    WHERE t.subject_id = $1 ORDER BY t.created_at, t.id, e.leg
    """,
)
