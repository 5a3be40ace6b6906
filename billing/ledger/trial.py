"""Trial balance: what stands on every account of the chart; each asset of each book sums to zero."""

from datetime import datetime

import msgspec

from billing.kit.query import Conn, Query


class TrialLine(msgspec.Struct, frozen=True):
    """Debits are negative. Customers' accounts are one line per kind of grant, ours one per name."""

    book: str
    asset: str
    name: str
    debit: int
    credit: int
    balance: int


TRIAL = Query(
    TrialLine,
    """
    SELECT a.book, a.asset, a.name, sum(s.debit)::bigint AS debit, sum(s.credit)::bigint AS credit,
           sum(s.debit + s.credit)::bigint AS balance
    FROM (
        SELECT e.account_id, coalesce(sum(e.amount) FILTER (WHERE e.amount < 0), 0) AS debit,
               coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0) AS credit
        FROM billing.entry e JOIN billing.transfer t ON t.id = e.transfer_id
        WHERE t.created_at < coalesce($1::timestamptz, 'infinity') GROUP BY e.account_id
    ) s JOIN (
        SELECT c.id, c.book, c.asset,
               coalesce('wallet:' || g.kind, split_part(c.path, ':' || c.book || ':' || c.asset, 1)) AS name
        FROM billing.account c LEFT JOIN billing.grant g ON g.account_id = c.id
    ) a ON a.id = s.account_id
    GROUP BY a.book, a.asset, a.name ORDER BY a.book, a.asset, a.name
    """,
)


async def trial_balance(conn: Conn, at: datetime | None = None) -> list[TrialLine]:
    """Everything posted before `at`, an aware time; everything there is without one."""
    return await TRIAL.all(conn, at)
