"""Everything at once: the books prove themselves, and say what the oracle says."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from billing.invoices.model import Invoice
from billing.kit.query import Conn
from billing.ledger.trial import trial_balance
from billing.ledger.verify import verify
from billing.plans.model import MINOR
from billing.reports.model import StatementOf, ask
from billing.reports.period import Period, zone_of
from billing.reports.statement import statement
from billing.reports.usage import usage
from tests.billing.simulator.oracle.bank import Oracle
from tests.billing.simulator.world import USAGE, World, compare_usage

START = datetime(2000, 1, 1, tzinfo=UTC)
HOLDS = """
    SELECT h.id, h.seq, h.account_id, h.amount, h.captured, h.refunded, h.state FROM billing.hold h ORDER BY h.id, h.seq
"""
BILLED = """
    SELECT b.subject_id, b.line, l.refunded_micro, l.credited_micro
    FROM billing.billed b JOIN billing.billed_line l USING (invoice_id, line)
"""
AGREEMENTS = """
    SELECT customer_id, plan ->> 'name', state, starts_at, ends_at, period_starts_at, period_ends_at FROM billing.subscription
"""
# What the ledger says that documents stand for: what was closed and sold, less what came back.
INVOICED = """
    SELECT coalesce(-sum(e.amount), 0)::bigint
    FROM billing.transfer t JOIN billing.entry e ON e.transfer_id = t.id JOIN billing.account a ON a.id = e.account_id
    LEFT JOIN billing.grant g ON g.account_id = a.id
    WHERE (t.kind IN ('close', 'credit_note') OR t.kind ~ '^(pack|subscription|seconds_return)_(from_wallet|on_account|to_wallet)$')
      AND (g.kind = 'paid' OR a.path LIKE 'asset:receivable:%')
"""


async def audit(world: World, customers: tuple[UUID, ...]) -> None:
    conn, oracle = world.conn, world.oracle
    await world.look()
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        findings = await verify(conn)
        assert not findings, f"verify finds {findings}"
        await world.balances(customers)
        await trial(conn, oracle)
        await holds(conn, oracle)
        await agreements(conn, oracle)
        compare_usage(oracle, await conn.fetch(USAGE, None), list(oracle.usage))
        await reports(conn, oracle)
        await statements(conn, oracle)
        await invoices(conn)


async def trial(conn: Conn, oracle: Oracle) -> None:
    expected: Counter[tuple[str, str]] = Counter(oracle.ours)
    for grant in oracle.grants:
        expected[grant.asset, f"wallet:{grant.kind}"] += grant.posted
    lines = await trial_balance(conn)
    told = {(line.asset, line.name): line.balance for line in lines if line.balance}
    assert told == {key: amount for key, amount in expected.items() if amount}, "the trial balance"
    for asset in {line.asset for line in lines}:
        assert sum(line.balance for line in lines if line.asset == asset) == 0, asset


async def holds(conn: Conn, oracle: Oracle) -> None:
    stored = [tuple(row) for row in await conn.fetch(HOLDS)]
    expected = [
        (key, seq, draw.grant.id, draw.amount, draw.captured, draw.refunded, hold.state)
        for key, hold in sorted(oracle.holds.items())
        for seq, draw in enumerate(hold.draws)
    ]
    assert stored == expected, "the holds"
    billed = sorted(tuple(row) for row in await conn.fetch(BILLED))
    charged = [(key, hold.line) for key, hold in sorted(oracle.holds.items()) if hold.line]
    assert billed == [(key, nth, line.refunded, line.credited) for key, (nth, line) in charged], "the jobs of documents' lines"


async def agreements(conn: Conn, oracle: Oracle) -> None:
    stored = [tuple(row) for row in await conn.fetch(AGREEMENTS)]
    expected = [
        (one.customer, one.plan.name, one.state, one.starts, one.ends, *(one.period or (None, None)))
        for one in oracle.agreements.values()
    ]
    assert sorted(stored, key=str) == sorted(expected, key=str), "the subscriptions"


async def reports(conn: Conn, oracle: Oracle) -> None:
    """By customer and model: roll-up and tail are the sum of every row."""
    period = Period(START, oracle.now + timedelta(microseconds=1), zone_of("UTC"))
    lines = await usage(conn, ask(period, ["organization", "model"], {}, book="live"))
    told = {
        (line.organization, line.model): (line.gross_micro, line.granted_micro, line.net_micro, line.seconds_ms, line.refunds)
        for line in lines
    }
    expected: dict[tuple[UUID, str], list[int]] = {}
    for rows in oracle.usage.values():
        for row in rows:
            sums = expected.setdefault((row["customer"], row["model"]), [0] * 5)
            figures = [row[name] for name in ("gross", "granted", "net", "seconds")] + [int(row["kind"] == "refund")]
            sums[:] = [a + b for a, b in zip(sums, figures, strict=True)]
    assert told == {key: tuple(sums) for key, sums in expected.items()}, "the usage report"


async def statements(conn: Conn, oracle: Oracle) -> None:
    for customer, currency in oracle.currency.items():
        period = Period(START, oracle.now + timedelta(microseconds=1), zone_of("UTC"))
        told = await statement(conn, StatementOf(customer, "live", currency, period))
        assert told.opening + sum(line.amount for line in told.movements) == told.closing
        assert told.closing == sum(grant.posted for grant in oracle.of(customer, currency)), "the statement"


async def invoices(conn: Conn) -> None:
    """Lines sum to the total, and what was invoiced is what the ledger charged; what is sold and not invoiced yet aside."""
    signed = 0
    for row in await conn.fetch("SELECT document, corrects, subscription_id FROM billing.invoice ORDER BY position"):
        paper = msgspec.json.decode(row["document"], type=Invoice)
        assert sum(line.net_minor for line in paper.lines) == paper.net_minor
        assert sum(line.tax_minor for line in paper.lines) == paper.tax_minor
        assert paper.net_minor + paper.tax_minor == paper.total_minor
        exact = sum(line.amount_micro for line in paper.lines)
        assert sum(line.amount_minor for line in paper.lines) * MINOR - exact == paper.rounding_micro
        assert abs(paper.rounding_micro) * 2 <= MINOR
        signed += paper.total_minor * (1 if paper.kind == "invoice" else -1)
    waiting = await conn.fetchval(
        "SELECT coalesce(sum((net_minor + tax_minor) * CASE WHEN returns IS NULL THEN 1 ELSE -1 END), 0)::bigint FROM billing.sale"
        " WHERE invoice_id IS NULL"
    )
    assert (signed + waiting) * MINOR == await conn.fetchval(INVOICED), "invoices and the ledger"
