"""The clearing account beside Stripe's own, movement by movement, from a mark on.

A mark notes what both came to before a day, and which movements differed; a later day reads on from there. It is made some days
later, when movements are listed and booked, as a rule.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec

from billing.kit.query import Command, Conn, Query
from billing.plans.model import MINOR
from billing.stripe import sql

MARKED_AFTER = timedelta(days=3)
COMMITTED_AFTER = timedelta(hours=1)
"""No transaction takes so long: what was stored before then is seen, what was stored since is read again from the mark on."""
EVER = datetime(9000, 1, 1, tzinfo=UTC)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Account(msgspec.Struct, frozen=True):
    """A currency at the end of the day, and what moved in the day at Stripe. `unexplained` is what no row accounts for."""

    currency: str
    ledger_micro: int
    stripe_micro: int
    unexplained_micro: int
    paid_in_micro: int
    given_back_micro: int
    fees_micro: int
    to_bank_micro: int
    to_payees_micro: int


class Mark(msgspec.Struct, frozen=True):
    """What was compared before `until`, in a currency; what differed then is looked at again, but for what was by hand."""

    until: datetime
    currency: str
    ledger_micro: int
    stripe_micro: int
    by_hand_micro: int
    by_hand_count: int
    open_transactions: list[str]
    open_transfers: list[UUID]
    seen: datetime


class Pair(msgspec.Struct, frozen=True):
    """A movement of Stripe's and what is booked of it, either of which may be missing. `ours`: it came about by a payment."""

    currency: str
    transaction_id: str | None
    transfer_id: UUID | None
    transfer_ids: list[UUID]
    kind: str
    about: str
    stripe_micro: int
    ledger_micro: int
    stripe_ever_micro: int
    ledger_ever_micro: int
    booked: bool
    ours: bool
    at: datetime

    @property
    def by_hand(self) -> bool:
        """Not by Stripe, and never to be listed there."""
        return self.transaction_id is None and not self.ours


MARK = Query(
    Mark,
    """
    SELECT until, currency, ledger_micro, stripe_micro, by_hand_micro, by_hand_count, open_transactions, open_transfers, seen
    FROM billing.clearing_mark WHERE until = (SELECT max(until) FROM billing.clearing_mark WHERE until <= $1) ORDER BY currency
    """,
)
ADD_MARK = Command("""
    INSERT INTO billing.clearing_mark (until, currency, ledger_micro, stripe_micro, by_hand_micro, by_hand_count,
                                       open_transactions, open_transfers, seen)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
""")
# Movements on the clearing account beside those of Stripe's that they are about, which differ before $1: those since the mark
# at $2, which has seen what was stored up to $3, and what differed then ($4, $5). Of Stripe's what was stored up to $6.
PAIRS = Query(
    Pair,
    """
    WITH clearing AS (
        SELECT id, asset FROM billing.account WHERE path LIKE 'asset:clearing:live:%'
    ), moved AS (
        SELECT a.asset, e.transfer_id, e.amount FROM clearing a JOIN billing.entry e ON e.account_id = a.id AND e.booked_at >= $2
        UNION ALL
        SELECT a.asset, e.transfer_id, e.amount FROM unnest($5::uuid[]) AS o (id) JOIN billing.entry e ON e.transfer_id = o.id
        JOIN clearing a ON a.id = e.account_id WHERE e.booked_at < $2
    ), ledger AS (
        SELECT m.asset AS currency, coalesce(t.payload -> 'facts' ->> 'transaction', s.id) AS transaction_id,
               CASE WHEN coalesce(t.payload -> 'facts' ->> 'transaction', s.id) IS NULL THEN t.id END AS transfer_id,
               array_agg(DISTINCT t.id) AS transfer_ids,
               min(t.kind) AS kind, min(coalesce(t.payload -> 'facts' ->> 'payment', t.subject_id::text)) AS about,
               bool_or(t.payload -> 'facts' ?| '{payment,payout}') AS ours,
               coalesce(-sum(m.amount) FILTER (WHERE t.created_at < $1), 0)::bigint AS micro,
               -sum(m.amount)::bigint AS ever_micro,
               min(t.created_at) AS at
        FROM moved m JOIN billing.transfer t ON t.id = m.transfer_id
        LEFT JOIN billing.stripe_transaction s ON s.transfer_id = t.id GROUP BY 1, 2, 3
    ), stripe AS (
        SELECT currency, id AS transaction_id, type AS kind, coalesce(source_id, description) AS about, created_at AS at,
               booked_at IS NOT NULL AS booked, (amount_minor - fee_minor) * 10000 AS ever_micro,
               CASE WHEN created_at < $1 THEN (amount_minor - fee_minor) * 10000 ELSE 0 END AS micro
        FROM billing.stripe_transaction
        WHERE (created_at >= $2 OR (created_at < $2 AND (stored_at > $3 OR id = ANY($4::text[])))) AND stored_at <= $6
    )
    SELECT coalesce(s.currency, l.currency) AS currency, coalesce(s.transaction_id, l.transaction_id) AS transaction_id,
           l.transfer_id, coalesce(l.transfer_ids, '{}') AS transfer_ids, coalesce(s.kind, l.kind) AS kind,
           coalesce(s.about, l.about) AS about,
           coalesce(s.micro, 0)::bigint AS stripe_micro, coalesce(l.micro, 0)::bigint AS ledger_micro,
           coalesce(s.ever_micro, 0)::bigint AS stripe_ever_micro, coalesce(l.ever_micro, 0)::bigint AS ledger_ever_micro,
           coalesce(s.booked, true) AS booked, coalesce(l.ours, false) AS ours, coalesce(s.at, l.at) AS at
    FROM ledger l FULL JOIN stripe s ON s.transaction_id = l.transaction_id AND s.currency = l.currency
    WHERE coalesce(s.micro, 0) <> coalesce(l.micro, 0) ORDER BY at, transaction_id, transfer_id
    """,
)
# What moved since the mark at $3, which has seen what was stored up to $4, up to $2; and of that in the day from $1 on, why.
# Of Stripe's what was stored up to $5.
ACCOUNTS = Query(
    Account,
    """
    WITH ledger AS (
        SELECT a.asset AS currency, -sum(e.amount)::bigint AS micro
        FROM billing.account a JOIN billing.entry e ON e.account_id = a.id AND e.booked_at >= $3 AND e.booked_at < $2
        WHERE a.path LIKE 'asset:clearing:live:%' GROUP BY 1
    ), stripe AS (
        SELECT currency, sum(amount_minor - fee_minor)::bigint * 10000 AS micro,
               coalesce(sum(amount_minor) FILTER (WHERE today AND type IN ('charge', 'payment')), 0) AS paid_in,
               coalesce(-sum(amount_minor) FILTER (WHERE today AND type <> 'transfer_refund'
                   AND (type LIKE '%refund%' OR type = 'adjustment')), 0) AS given_back,
               coalesce(sum(fee_minor) FILTER (WHERE today), 0)
                   - coalesce(sum(amount_minor) FILTER (WHERE today AND type LIKE '%fee'), 0) AS fees,
               coalesce(-sum(amount_minor) FILTER (WHERE today AND type LIKE 'payout%'), 0) AS to_bank,
               coalesce(-sum(amount_minor) FILTER (WHERE today AND type LIKE 'transfer%'), 0) AS to_payees
        FROM (
            SELECT *, created_at >= $1 AS today FROM billing.stripe_transaction
            WHERE ((created_at >= $3 AND created_at < $2) OR (created_at < $3 AND stored_at > $4)) AND stored_at <= $5
        ) t GROUP BY 1
    )
    SELECT currency, coalesce(l.micro, 0)::bigint AS ledger_micro, coalesce(s.micro, 0)::bigint AS stripe_micro,
           0::bigint AS unexplained_micro, (coalesce(s.paid_in, 0) * 10000)::bigint AS paid_in_micro,
           (coalesce(s.given_back, 0) * 10000)::bigint AS given_back_micro, (coalesce(s.fees, 0) * 10000)::bigint AS fees_micro,
           (coalesce(s.to_bank, 0) * 10000)::bigint AS to_bank_micro,
           (coalesce(s.to_payees, 0) * 10000)::bigint AS to_payees_micro
    FROM ledger l FULL JOIN stripe s USING (currency) ORDER BY currency
    """,
)


async def last_marks(conn: Conn, day: datetime) -> list[Mark]:
    """The last one that was made for a moment up to this, by currency."""
    return await MARK.all(conn, day)


async def pairs(conn: Conn, until: datetime, marks: Sequence[Mark]) -> list[Pair]:
    """What differs before `until`, but for what was entered by hand before the mark."""
    return await PAIRS.all(conn, until, *_from(marks), EVER)


async def mark(conn: Conn, day: date) -> None:
    """Notes what was compared before the day, so that later days need not read it; in the caller's transaction, once."""
    until = datetime(day.year, day.month, day.day, tzinfo=UTC)
    marks = await MARK.all(conn, until)
    if marks and marks[0].until == until:
        return
    seen = (await sql.NOW.one(conn)).at - COMMITTED_AFTER
    found = await PAIRS.all(conn, until, *_from(marks), seen)
    for account in await accounts(conn, until, until, marks, seen=seen):
        before = next((one for one in marks if one.currency == account.currency), None)
        differ = [pair for pair in found if pair.currency == account.currency]
        by_hand = [pair for pair in differ if pair.by_hand]
        still = [pair for pair in differ if not pair.by_hand]
        await ADD_MARK.run(
            conn, until, account.currency, account.ledger_micro, account.stripe_micro,
            sum(pair.ledger_micro for pair in by_hand) + (before.by_hand_micro if before else 0),
            len(by_hand) + (before.by_hand_count if before else 0),
            [pair.transaction_id for pair in still if pair.transaction_id],
            sorted({transfer for pair in still for transfer in pair.transfer_ids}), seen,
        )  # fmt: skip


def _from(marks: Sequence[Mark]) -> tuple[datetime, datetime, list[str], list[UUID]]:
    """Where to read on from: the mark, what it has seen, and what differed then."""
    return (
        marks[0].until if marks else _BEGINNING,
        min(one.seen for one in marks) if marks else _BEGINNING,
        [transaction for one in marks for transaction in one.open_transactions],
        sorted({transfer for one in marks for transfer in one.open_transfers}),
    )


async def accounts(
    conn: Conn, since: datetime, until: datetime, marks: Sequence[Mark], *, seen: datetime = EVER
) -> list[Account]:
    """What the mark came to, and what moved since."""
    at, seen_before, _, _ = _from(marks)
    moved = {account.currency: account for account in await ACCOUNTS.all(conn, since, until, at, seen_before, seen)}
    for one in marks:
        account = moved.get(one.currency, Account(one.currency, 0, 0, 0, 0, 0, 0, 0, 0))
        moved[one.currency] = msgspec.structs.replace(
            account,
            ledger_micro=account.ledger_micro + one.ledger_micro,
            stripe_micro=account.stripe_micro + one.stripe_micro,
        )
    return [moved[currency] for currency in sorted(moved)]


assert MINOR == 10_000, "the statements above turn minor units into micro-units"
