"""Reconcile a day: our ledger, Stripe's account, and what compute cost. Each difference is explained, or raised with its rows.

What stands on `asset:clearing` in a currency is compared with Stripe's balance in it, movement by movement, at the day's end.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from billing.kit.query import Conn, Query
from billing.stripe import sql
from billing.stripe.clearing import MARKED_AFTER, Account, Mark, Pair, accounts, last_marks, mark, pairs

LISTED_WITHIN = timedelta(days=2)
"""Stripe lists the movement of a payment at once as a rule; one that is missing for longer is asked about."""
ROWS_MAX = 100

Reason = Literal[
    "not_listed_yet", "booked_another_day", "entered_by_hand",  # explained
    "never_listed", "not_booked", "amounts_differ", "cost_differs", "payout_failed", "message_stuck", "dispute_open",
]  # fmt: skip
EXPLAINED: dict[Reason, str] = {
    "not_listed_yet": "paid or given back, and not on Stripe's account yet: it comes with its fee, nothing is to be done",
    "booked_another_day": "on Stripe's account on one day and in the ledger on another: it evens out there",
    "entered_by_hand": "entered by `tallylight wallet topup` and the like, not by Stripe: compare it with the bank",
}
RAISED: dict[Reason, str] = {
    "never_listed": "in the ledger for two days and not on Stripe's account: look the payment up in Stripe's Dashboard",
    "not_booked": "on Stripe's account and not in the ledger: it is none of our payments, or in a currency without books",
    "amounts_differ": "booked with another amount than Stripe has moved: do not correct it by hand, find the cause first",
    "cost_differs": "a job's cost in the ledger and in its usage record differ: verify the ledger",
    "payout_failed": "the bank has sent a payout back: check the account's details in Stripe's Dashboard",
    "message_stuck": "a message of Stripe's cannot be worked on: the reason stands with it",
    "dispute_open": "a dispute waits for an answer in Stripe's Dashboard: without one it is lost",
}


COMPARED: tuple[Reason, ...] = (*EXPLAINED, "never_listed", "not_booked", "amounts_differ")
"""What makes an account of ours and Stripe's differ."""


class Row(msgspec.Struct, frozen=True):
    """One thing that makes a difference: which, of what kind, about what, since when."""

    id: str
    kind: str
    about: str
    currency: str
    amount_micro: int
    at: datetime


class Difference(msgspec.Struct, frozen=True):
    """`amount_micro` is by how much the ledger is above Stripe, where that is what is compared; `count` of all rows."""

    reason: Reason
    say: str
    currency: str
    amount_micro: int
    count: int
    rows: tuple[Row, ...]


class Exchange(msgspec.Struct, frozen=True):
    """What stands between two currencies: what was given of one, what was got of the other, and what that is off by now."""

    currency: str
    into: str
    given_micro: int
    got_micro: int
    residue_micro: int


class Day(msgspec.Struct, frozen=True):
    """What compute cost in the day, in the ledger and in usage records, and how much was earned."""

    cost_currency: str
    ledger_cost_micro: int
    usage_cost_micro: int


class Wired(msgspec.Struct, frozen=True):
    """What was booked in the day from our bank's statement, to compare with it."""

    currency: str
    wires: int
    amount_micro: int


class Reconciliation(msgspec.Struct, frozen=True):
    day: date
    accounts: tuple[Account, ...]
    exchanges: tuple[Exchange, ...]
    costs: tuple[Day, ...]
    explained: tuple[Difference, ...]
    raised: tuple[Difference, ...]
    wired: tuple[Wired, ...] = ()


# What was exchanged, at the rate of the last time: what came back for less or more than it went for is the residue.
EXCHANGES = Query(
    Exchange,
    """
    SELECT x.currency, x.into, x.given AS given_micro, x.got AS got_micro,
           (x.got - round(x.given::numeric * x.last_got / x.last_given))::bigint AS residue_micro
    FROM (
        SELECT t.payload ->> 'asset' AS currency, t.payload ->> 'units' AS into,
               sum((t.payload -> 'amounts' ->> 'amount')::bigint)::bigint AS given,
               sum((t.payload -> 'amounts' ->> 'got')::bigint)::bigint AS got,
               (array_agg((t.payload -> 'amounts' ->> 'amount')::numeric ORDER BY t.created_at DESC, t.id))[1] AS last_given,
               (array_agg((t.payload -> 'amounts' ->> 'got')::numeric ORDER BY t.created_at DESC, t.id))[1] AS last_got
        FROM billing.transfer t WHERE t.kind = 'exchange' AND t.created_at < $1 GROUP BY 1, 2
    ) x ORDER BY 1, 2
    """,
)
# A job's cost stands on what we owe for compute, where the day is a range of the index.
COSTS = Query(
    Day,
    """
    SELECT coalesce(l.currency, u.currency) AS cost_currency, coalesce(l.micro, 0)::bigint AS ledger_cost_micro,
           coalesce(u.micro, 0)::bigint AS usage_cost_micro
    FROM (
        SELECT a.asset AS currency, sum(e.amount) AS micro
        FROM billing.account a JOIN billing.entry e ON e.account_id = a.id AND e.booked_at >= $1 AND e.booked_at < $2
        JOIN billing.transfer t ON t.id = e.transfer_id AND t.kind = 'cost'
        WHERE a.path LIKE 'liability:gpu_accrued:live:%' GROUP BY 1
    ) l FULL JOIN (
        SELECT s.cost_currency AS currency, sum(u.cost_micro) AS micro
        FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id
        WHERE u.at >= $1 AND u.at < $2 AND s.book = 'live' AND s.kind = 'charge' AND u.cost_micro <> 0 GROUP BY 1
    ) u USING (currency) ORDER BY 1
    """,
)
# Of each job that either has in the day, all that both have: a job that ended at midnight is no difference.
WRONG_COSTS = Query(
    Row,
    """
    WITH job AS (
        SELECT t.subject_id
        FROM billing.account a JOIN billing.entry e ON e.account_id = a.id AND e.booked_at >= $1 AND e.booked_at < $2
        JOIN billing.transfer t ON t.id = e.transfer_id AND t.kind = 'cost'
        WHERE a.path LIKE 'liability:gpu_accrued:%'
        UNION SELECT subject_id FROM billing.usage WHERE at >= $1 AND at < $2 AND cost_micro > 0
    ), both_sides AS (
        SELECT j.subject_id, l.currency, coalesce(l.micro, 0) AS ledger, coalesce(u.micro, 0) AS usage, coalesce(l.at, u.at) AS at
        FROM job j LEFT JOIN LATERAL (
            SELECT min(payload ->> 'asset') AS currency, sum((payload -> 'amounts' ->> 'amount')::bigint) AS micro,
                   min(created_at) AS at
            FROM billing.transfer t WHERE t.subject_id = j.subject_id AND t.kind = 'cost'
        ) l ON true LEFT JOIN LATERAL (
            SELECT sum(v.cost_micro) AS micro, min(v.at) AS at FROM billing.usage v
            WHERE v.subject_id = j.subject_id AND v.cost_micro > 0
        ) u ON true
    )
    SELECT subject_id::text AS id, 'cost' AS kind, 'ledger ' || ledger || ', usage ' || usage AS about,
           coalesce(currency, '') AS currency, (ledger - usage)::bigint AS amount_micro, at
    FROM both_sides WHERE ledger <> usage ORDER BY at, id
    """,
)
# What was undone on a day left it then.
WIRED = Query(
    Wired,
    """
    SELECT currency, (count(*) FILTER (WHERE amount > 0))::int AS wires, (sum(amount) * 10000)::bigint AS amount_micro
    FROM (SELECT currency, created_at AS at, amount_minor AS amount FROM billing.settlement WHERE kind = 'wire'
          UNION ALL SELECT currency, undone_at, -amount_minor FROM billing.settlement WHERE kind = 'wire') s
    WHERE at >= $1 AND at < $2 GROUP BY 1 ORDER BY 1
    """,
)
FAILED_PAYOUTS = Query(
    Row,
    """
    SELECT id, type AS kind, coalesce(source_id, '') AS about, currency, amount_minor * 10000 AS amount_micro, created_at AS at
    FROM billing.stripe_transaction WHERE type IN ('payout_failure', 'payout_cancel') AND created_at >= $1 AND created_at < $2
    ORDER BY created_at, id
    """,
)
STUCK_MESSAGES = Query(
    Row,
    """
    SELECT id, type AS kind, object_id || ': ' || failure AS about, '' AS currency, 0::bigint AS amount_micro, received_at AS at
    FROM billing.stripe_event WHERE done_at IS NULL AND tries >= 5 AND received_at < $1 ORDER BY received_at, id
    """,
)
OPEN_DISPUTES = Query(
    Row,
    """
    SELECT d.stripe_id AS id, d.reason AS kind, d.payment_id::text AS about, p.currency, d.amount_minor * 10000 AS amount_micro,
           d.created_at AS at
    FROM billing.dispute d JOIN billing.payment p ON p.id = d.payment_id
    WHERE d.state = 'open' AND d.created_at < $1 ORDER BY d.created_at, d.stripe_id
    """,
)


async def reconcile(conn: Conn, day: date) -> Reconciliation:
    """The day in UTC, as it is known now; run it in a REPEATABLE READ transaction, after `Desk.read_account`.

    It reads the day, what is between the last mark and the day, and what differed at the mark: not the whole of history.
    """
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    until = since + timedelta(days=1)
    marks = await last_marks(conn, since)
    differ = _sorted(await pairs(conn, until, marks), until)
    found = _by_hand(marks, [_difference(reason, currency, list(map(_row, of_it))) for reason, currency, of_it in differ])
    asked: dict[Reason, list[Row]] = {
        "cost_differs": await WRONG_COSTS.all(conn, since, until),
        "payout_failed": await FAILED_PAYOUTS.all(conn, since, until),
        "message_stuck": await STUCK_MESSAGES.all(conn, until),
        "dispute_open": await OPEN_DISPUTES.all(conn, until),
    }
    found += [_difference(reason, rows[0].currency, rows) for reason, rows in asked.items() if rows]
    return Reconciliation(
        day,
        tuple(_checked(account, found) for account in await accounts(conn, since, until, marks)),
        tuple(await EXCHANGES.all(conn, until)),
        tuple(await COSTS.all(conn, since, until)),
        tuple(one for one in found if one.reason in EXPLAINED),
        tuple(one for one in found if one.reason in RAISED),
        tuple(await WIRED.all(conn, since, until)),
    )


async def reconcile_days(conn: Conn) -> list[Reconciliation]:
    """Makes and stores yesterday's, and again those of two weeks that raised something. Returns those that still do."""
    made = [await reconcile(conn, row.day) for row in await sql.DAYS_TO_RECONCILE.all(conn)]
    for one in made:
        await sql.SET_RECONCILIATION.run(conn, one.day, len(one.raised), msgspec.json.encode(one))
    if made:
        await mark(conn, max(one.day for one in made) - MARKED_AFTER)
    return [one for one in made if one.raised]


def _by_hand(marks: Sequence[Mark], found: Sequence[Difference]) -> list[Difference]:
    """With what was entered by hand before the mark, of which only the sum is known."""
    earlier = {one.currency: one for one in marks if one.by_hand_count}
    summed: list[Difference] = []
    for one in found:
        before = earlier.pop(one.currency, None) if one.reason == "entered_by_hand" else None
        more = (before.by_hand_micro, before.by_hand_count) if before else (0, 0)
        summed.append(msgspec.structs.replace(one, amount_micro=one.amount_micro + more[0], count=one.count + more[1]))
    for one in earlier.values():
        nothing = _difference("entered_by_hand", one.currency, [])
        summed.append(msgspec.structs.replace(nothing, amount_micro=one.by_hand_micro, count=one.by_hand_count))
    return summed


def _sorted(pairs: Sequence[Pair], until: datetime) -> list[tuple[Reason, str, list[Pair]]]:
    """The pairs that differ, by why and by currency."""
    by: dict[tuple[Reason, str], list[Pair]] = {}
    for pair in pairs:
        by.setdefault((_reason(pair, until), pair.currency), []).append(pair)
    return [(reason, currency, of_it) for (reason, currency), of_it in sorted(by.items())]


def _reason(pair: Pair, until: datetime) -> Reason:
    if pair.transaction_id is None:
        if pair.by_hand:
            return "entered_by_hand"
        return "not_listed_yet" if pair.at > until - LISTED_WITHIN else "never_listed"
    if not pair.booked:
        return "not_booked"
    return "booked_another_day" if pair.stripe_ever_micro == pair.ledger_ever_micro else "amounts_differ"


def _row(pair: Pair) -> Row:
    named = pair.transaction_id or str(pair.transfer_id)
    return Row(named, pair.kind, pair.about, pair.currency, pair.ledger_micro - pair.stripe_micro, pair.at)


def _difference(reason: Reason, currency: str, rows: Sequence[Row]) -> Difference:
    say = {**EXPLAINED, **RAISED}[reason]
    return Difference(reason, say, currency, sum(row.amount_micro for row in rows), len(rows), tuple(rows[:ROWS_MAX]))


def _checked(account: Account, found: Sequence[Difference]) -> Account:
    """Every difference of an account is the sum of its rows; what is left would be a fault of this page."""
    told = sum(one.amount_micro for one in found if one.currency == account.currency and one.reason in COMPARED)
    return msgspec.structs.replace(account, unexplained_micro=account.ledger_micro - account.stripe_micro - told)
