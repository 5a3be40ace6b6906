"""A world of its own for one seed: a database, its clock, the oracle, and a step that is compared with it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from billing.bank.model import Settlement, SupplierBill
from billing.charges.model import Settled
from billing.errors import BillingError
from billing.invoices.model import Invoice
from billing.kit.query import Conn, Record
from billing.ledger.model import Held, Refunded, Released
from billing.plans.model import Sale, Subscription
from tests.billing.simulator.cut import Cut, CutConn
from tests.billing.simulator.offers import CATALOGUE, TAXES
from tests.billing.simulator.oracle.bank import Oracle
from tests.billing.simulator.oracle.books import Grant, Refused

ACCOUNTS = """
    SELECT w.customer_id, w.asset, g.kind, g.priority, g.starts_at, g.expires_at, g.issued, g.basis_micro, b.posted, b.held,
           b.floor, b.account_id
    FROM billing.wallet w JOIN billing.balance b ON b.wallet_id = w.id JOIN billing.grant g ON g.account_id = b.account_id
    WHERE w.customer_id = ANY($1::uuid[])
"""
VOLUMES = "SELECT customer_id, key, counted FROM billing.volume WHERE customer_id = ANY($1::uuid[]) AND counted > 0"
USAGE = """
    SELECT u.subject_id, s.kind, s.outcome, s.customer_id, s.model, u.at, gross_micro, granted_micro, net_micro, prepaid_micro,
           seconds_ms, requested_ms, delivered_ms, billed_ms, images, cost_micro
    FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id
    WHERE $1::uuid[] IS NULL OR u.subject_id = ANY($1::uuid[])
"""


COMPARE_EVERY = 4
"""How many calls may pass before what they left behind is compared."""


@dataclass(frozen=True)
class Call:
    """One call of a verb, which may be sent any number of times. `customers`: whose balances it may move."""

    name: str
    customers: tuple[UUID, ...]
    run: Callable[[Conn], Awaitable[Any]]
    expect: Callable[[Oracle], Any]
    jobs: tuple[UUID, ...] = ()


class World:
    """`conn` runs the verbs as the processes do, `owner` sets the clock.

    What a call returned is compared at once, what it left behind with that of the next few: `unseen` are those since it was.
    """

    def __init__(self, seed: int, conn: Conn, owner: Conn) -> None:
        self.choose = random.Random(seed)
        self.conn, self.owner = conn, owner
        self.at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=self.choose.randrange(24 * 400))
        self.oracle = Oracle(self.at, taxes=TAXES, budgets=list(CATALOGUE.budgets))
        self.oracle.offers = {one.name: one for one in (*CATALOGUE.plans, *CATALOGUE.packs)}
        self.seen: dict[str, int] = {}
        self.unseen: list[Call] = []
        self.matched = 0
        self.calls = self.events = self.cuts = self.lost = 0

    async def turn(self, at: datetime) -> None:
        self.at = self.oracle.now = at
        await self.owner.execute("UPDATE public.clock SET at = $1", at)

    async def does(self, call: Call) -> None:
        """Sends the call; it may die at any statement, or after its COMMIT, and is then sent again."""
        dice, at = self.choose.random(), 0
        if dice < 0.12:
            at = self.choose.randint(1, self.seen.get(call.name, 6))
        if at:
            await self._dies(call, at, after=self.choose.random() < 0.5)
        await self._sends(call)
        if 0.12 < dice < 0.17:
            self.lost += 1
            await self._sends(call)
        self.events += max(len(call.jobs), 1)

    async def _dies(self, call: Call, at: int, *, after: bool) -> None:
        try:
            async with self.conn.transaction():
                await call.run(CutConn(self.conn, at, after=after))  # pyright: ignore[reportArgumentType] - all that verbs use
                raise Cut
        except (Cut, BillingError):
            self.cuts += 1
        await self.compare(call)

    async def _sends(self, call: Call) -> None:
        self.calls += 1
        conn = CutConn(self.conn)
        try:
            async with self.conn.transaction():
                outcome = plain(await call.run(conn))  # pyright: ignore[reportArgumentType] - as above
        except BillingError as error:
            outcome = plain(error)
        self.seen[call.name] = max(conn.count, 1)
        try:
            expected = call.expect(self.oracle)
        except Refused as refused:
            expected = "refused", refused.code
        assert outcome == expected, f"{call.name} says {outcome}, the oracle {expected}"
        await self.compare(call)

    async def compare(self, call: Call) -> None:
        """At once where an account is new: the oracle must learn its id before anything draws on it."""
        self.unseen.append(call)
        if len(self.unseen) == COMPARE_EVERY or len(self.oracle.grants) > self.matched:
            await self.look()

    async def look(self) -> None:
        """Compares everything that the calls since the last look may touch."""
        customers = list({one: None for call in self.unseen for one in call.customers})
        jobs = list({one: None for call in self.unseen for one in call.jobs})
        try:
            if customers:
                await self.balances(customers)
            if jobs:
                volumes = {(row[0], row[1]): row[2] for row in await self.conn.fetch(VOLUMES, customers)}
                expected = {key: counted for key, counted in self.oracle.volumes.items() if counted and key[0] in customers}
                assert volumes == expected, f"volumes {volumes}, the oracle {expected}"
                compare_usage(self.oracle, await self.conn.fetch(USAGE, jobs), jobs)
        except AssertionError as error:
            error.add_note(f"calls since the last comparison: {', '.join(call.name for call in self.unseen)}")
            raise
        self.unseen.clear()
        self.matched = len(self.oracle.grants)

    async def balances(self, customers: Sequence[UUID]) -> None:
        """Every account of these customers; those that are new are matched by what they are."""
        rows = await self.conn.fetch(ACCOUNTS, customers)
        mine = [grant for grant in self.oracle.grants if grant.customer in customers]
        known = {grant.id: grant for grant in mine if grant.id is not None}
        fresh = [grant for grant in mine if grant.id is None]
        for row in rows:
            terms, account = tuple(row)[:-1], row["account_id"]
            grant = known.pop(account, None) or _match(fresh, terms, account)
            assert grant is not None, f"an account that the oracle does not have: {dict(row)}"
            assert terms == grant.is_like(), f"account {account}: {terms}, the oracle {grant.is_like()}"
        assert not known and not fresh, f"accounts that are missing: {[*known.values(), *fresh]}"


def _match(fresh: list[Grant], terms: tuple[Any, ...], account: UUID) -> Grant | None:
    for grant in fresh:
        if grant.is_like() == terms:
            fresh.remove(grant)
            grant.id = account
            return grant
    return None


def compare_usage(oracle: Oracle, rows: Sequence[Record], jobs: Sequence[UUID]) -> None:
    recorded = sorted(tuple(row) for row in rows)
    expected = sorted((job, *row.values()) for job in jobs for row in oracle.usage.get(job, []))
    assert recorded == expected, f"usage {recorded}, the oracle {expected}"


def plain(outcome: Any) -> Any:
    """What a verb returned, without what only the product knows."""
    match outcome:
        case list():
            return [plain(one) for one in outcome]
        case BillingError():
            return "refused", outcome.code
        case Held():
            return "held", outcome.amount_micro, outcome.seconds_ms, outcome.starts_at
        case Settled():
            return "settled", outcome.amount_micro, outcome.seconds_ms, outcome.granted_micro
        case Released():
            return ("released",)
        case Refunded():
            return "refunded", outcome.amount_micro, outcome.seconds_ms, outcome.promo_micro
        case Sale():
            return "sale", outcome.net_minor, outcome.tax_minor
        case Subscription():
            period = outcome.period and (outcome.period.starts_at, outcome.period.ends_at)
            return "plan", outcome.plan.name, outcome.state, outcome.ends_at, period
        case Settlement():
            return "settled", outcome.amount_minor, outcome.invoice_minor, outcome.undone_at is not None
        case SupplierBill():
            return "bill", outcome.billed_micro, outcome.accrued_micro, outcome.booked_micro
        case Invoice():
            return str(outcome.customer_id), outcome.net_minor, outcome.tax_minor, outcome.total_minor
        case int():
            return outcome
        case _:
            return None
