"""Random histories over the real statements: after every one the ledger is sound, and each hold was decided as it had to be."""

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from billing.errors import BillingError, InsufficientFunds
from billing.kit.ids import new_id
from billing.kit.money import charge_micro
from billing.kit.pool import open_pool
from billing.kit.query import Conn, Pool
from billing.ledger.capture import capture
from billing.ledger.chain import seal
from billing.ledger.grants import Issue, expire, issue, roll_over
from billing.ledger.hold import hold
from billing.ledger.model import (
    Captured,
    CaptureRequest,
    Held,
    HoldRequest,
    RefundRequest,
    Seconds,
    credit_account_id,
    paid_account_id,
    wallet_id,
)
from billing.ledger.post import Posting, post
from billing.ledger.refund import refund
from billing.ledger.release import release
from billing.ledger.reverse import reverse
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, set_credit_limit, top_up

EXAMPLES = int(os.environ.get("TALLYLIGHT_TEST_HISTORIES", "12"))
STEPS = 25
CLOCK = """
    CREATE TABLE public.clock (at timestamptz NOT NULL);
    INSERT INTO public.clock VALUES ('2026-01-01T00:00:00Z');
    CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        'SELECT at + (clock_timestamp() - transaction_timestamp()) FROM public.clock'
"""
FREE = """
    SELECT coalesce(sum(greatest(b.posted - b.held - b.floor, 0)), 0)::bigint
    FROM billing.balance b JOIN billing.grant g ON g.account_id = b.account_id
    WHERE b.wallet_id = $1 AND coalesce(g.starts_at, '-infinity') <= billing.now() AND coalesce(g.expires_at, 'infinity') > billing.now()
"""
ENDS = ("captured", "captured in part", "released", "kept")
amounts = st.integers(1, 400)
days = st.one_of(st.none(), st.integers(1, 40))

WORK: dict[str, Any] = {
    "asked": st.lists(st.tuples(st.integers(0, 300), st.one_of(st.just(0), st.integers(1, 300))), min_size=1, max_size=6),
    "rate": st.integers(0, 2000),
    "again": st.booleans(),
    "ends": st.lists(st.sampled_from(ENDS), min_size=6, max_size=6),
}


class Histories(RuleBasedStateMachine):
    """One customer's life, an event at a time, in a database whose clock the test moves.

    What is drawn from stands in the order in which it came: ids are random, and a life must be the same when it is lived again.
    """

    pool: ClassVar[Pool]
    runner: ClassVar[asyncio.Runner]

    @initialize()
    def opened(self) -> None:
        self.customer = new_id()
        self.holds: dict[UUID, HoldRequest] = {}
        self.captured: dict[UUID, Captured] = {}
        self.charges: dict[UUID, CaptureRequest] = {}
        self.grants: list[tuple[UUID, str]] = []
        self.given: list[UUID] = []
        self.owed = 0

        async def start(conn: Conn) -> datetime:
            await open_wallet(conn, self.customer, "live", "CNY")
            return await conn.fetchval("SELECT at FROM public.clock")

        self.now = self.run(start)
        self.money = wallet_id(self.customer, "live", "CNY")
        self.seconds = wallet_id(self.customer, "live", "SEC:h100")
        self.pays_in(600)
        self.gets_credit(100)
        for kind, amount, basis, lasts in (("promo", 80, 0, 15), ("pack", 400, 100, 25), ("subscription", 200, 70, 30)):
            self.is_given(kind, amount, basis, lasts, 0)

    def run(self, work: Any) -> Any:
        """`work` in a transaction of its own; what the ledger refuses by raising undoes all of it and is returned."""

        async def once() -> Any:
            async with self.pool.acquire() as conn:
                try:
                    async with conn.transaction():
                        return await work(conn)
                except BillingError as refused:
                    return refused

        return self.runner.run(once())

    def posting(self, kind: str, **amounts: int) -> Any:
        one = Posting(
            kind=kind, source=str(new_id()), subject_id=self.customer, book="live", asset="CNY", amounts=amounts,
            accounts={"credit": self.credit, "wallet": paid_account_id(self.money)}, dimensions={"customer": str(self.customer)},
        )  # fmt: skip
        return self.run(lambda conn: post(conn, [one]))[0]

    @property
    def credit(self) -> UUID:
        return credit_account_id(self.money)

    @rule(amount=amounts)
    def pays_in(self, amount: int) -> None:
        self.given.append(
            self.run(lambda conn: top_up(conn, source=str(new_id()), customer_id=self.customer, asset="CNY", amount_micro=amount))
        )

    @rule(
        kind=st.sampled_from(["promo", "sla", "voucher", "pack", "pack_from_wallet", "subscription", "allowance"]),
        amount=amounts, basis=st.integers(0, 300), lasts=days, priority=st.integers(-1, 1),
    )  # fmt: skip
    def is_given(self, kind: str, amount: int, basis: int, lasts: int | None, priority: int) -> None:
        is_seconds = kind.startswith(("pack", "subscription", "allowance"))
        sold = is_seconds and kind != "allowance"
        one = Issue(
            kind=kind, source=str(new_id()), customer_id=self.customer, asset="SEC:h100" if is_seconds else "CNY", amount=amount,
            priority=priority, expires_at=self.now + timedelta(days=lasts) if lasts else None, currency="CNY" if sold else "",
            basis_micro=basis if sold else 0, accounts={"wallet": paid_account_id(self.money)} if kind.endswith("wallet") else {},
        )  # fmt: skip
        made = self.run(lambda conn: issue(conn, [one]))
        if not isinstance(made, BillingError):
            self.grants.append((made[0], kind))

    @rule(limit=st.integers(0, 500))
    def gets_credit(self, limit: int) -> None:
        self.run(
            lambda conn: set_credit_limit(
                conn, source=str(new_id()), customer_id=self.customer, book="live", asset="CNY", limit_micro=limit
            )
        )

    def work(self, asked: list[tuple[int, int]], rate: int, again: bool, ends: list[str]) -> None:
        """Holds a batch, and ends some of it: captured whole or in part, released, or kept for later."""
        requests = [
            HoldRequest(
                new_id(), self.money, charge_micro(ms, rate) if ms else amount, Seconds(self.seconds, ms, rate) if ms else None
            )
            for amount, ms in asked
        ]
        replayed = list(self.holds.values())[:3] if again else []

        async def decide(conn: Conn) -> Any:
            free = await conn.fetchval(FREE, self.money), await conn.fetchval(FREE, self.seconds)
            return free, await hold(conn, [*replayed, *requests, *requests[:1]])

        (money, seconds), outcomes = self.run(decide)
        assert all(isinstance(one, Held) for one in outcomes[: len(replayed)])
        ended: dict[str, list[Held]] = {end: [] for end in ENDS}
        for request, outcome, end in zip(requests, outcomes[len(replayed) :], ends, strict=False):
            covered = min(seconds, request.seconds.duration_ms) if request.seconds else 0
            needed = request.amount_micro
            if request.seconds and covered:
                needed = charge_micro(request.seconds.duration_ms - covered, rate)
            if needed > money:
                assert isinstance(outcome, InsufficientFunds)
                continue
            assert outcome == Held(request.id, needed, covered)
            money, seconds = money - needed, seconds - covered
            self.holds[request.id] = request
            ended[end].append(outcome)
        assert outcomes[-1] == outcomes[len(replayed)] or isinstance(outcomes[-1], InsufficientFunds)
        charges = [CaptureRequest(one.id, one.seconds_ms, one.amount_micro) for one in ended["captured"]]
        charges += [CaptureRequest(one.id, one.seconds_ms // 2, one.amount_micro // 3) for one in ended["captured in part"]]
        for charge, captured in zip(charges, self.run(lambda conn: capture(conn, charges)), strict=True):
            assert (captured.seconds_ms, captured.amount_micro) == (charge.seconds_ms, charge.amount_micro)
            self.captured[charge.id] = captured
            self.charges[charge.id] = charge
        self.run(lambda conn: release(conn, [one.id for one in ended["released"]]))

    # Most of a customer's life is work: the more rules say so, the more often it is drawn.
    works = rule(**WORK)(work)
    works_on = rule(**WORK)(work)
    works_more = rule(**WORK)(work)
    works_still = rule(**WORK)(work)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), share=st.integers(0, 100))
    def captures_one(self, data: st.DataObject, share: int) -> None:
        hold_id = data.draw(st.sampled_from(list(self.holds)))
        (held,) = self.run(lambda conn: hold(conn, [self.holds[hold_id]]))
        part = CaptureRequest(hold_id, held.seconds_ms * share // 100, held.amount_micro * share // 100, payload={"by": "test"})
        charge = self.charges.get(hold_id, part)
        (outcome,) = self.run(lambda conn: capture(conn, [charge]))
        if hold_id in self.captured:
            assert outcome == self.captured[hold_id]
        elif isinstance(outcome, Captured):
            self.captured[hold_id], self.charges[hold_id] = outcome, charge

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def releases_one(self, data: st.DataObject) -> None:
        hold_id = data.draw(st.sampled_from(list(self.holds)))
        (outcome,) = self.run(lambda conn: release(conn, [hold_id]))
        assert isinstance(outcome, BillingError) == (hold_id in self.captured)

    @precondition(lambda self: self.captured)
    @rule(data=st.data(), share=st.integers(0, 100), reason=st.sampled_from("ab"))
    def gives_back(self, data: st.DataObject, share: int, reason: str) -> None:
        one = self.captured[data.draw(st.sampled_from(list(self.captured)))]
        asked = RefundRequest(one.id, one.seconds_ms * share // 100, one.amount_micro * share // 100, reason)
        self.run(lambda conn: refund(conn, [asked]))

    @rule(amount=amounts, tax=st.integers(0, 30), rounding=st.integers(-1, 1))
    def is_invoiced(self, amount: int, tax: int, rounding: int) -> None:
        total = amount + tax + rounding
        outcome = self.posting("close", total=total, usage=amount, shortfall=0, tax=tax, rounding=rounding)
        self.owed += 0 if isinstance(outcome, BillingError) else total

    @precondition(lambda self: self.owed)
    @rule(share=st.integers(1, 100), kind=st.sampled_from(["payment", "payment_from_wallet", "write_off"]))
    def settles_the_invoice(self, share: int, kind: str) -> None:
        amount = self.owed * share // 100
        outcome = self.posting(kind, amount=amount)
        self.owed -= 0 if isinstance(outcome, BillingError) else amount

    @rule(amount=amounts)
    def takes_cash_back(self, amount: int) -> None:
        self.posting("cash_refund", amount=amount)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def was_given_by_mistake(self, data: st.DataObject) -> None:
        transfer = data.draw(st.sampled_from(self.given))
        self.run(lambda conn: reverse(conn, transfer, "mistake"))

    @precondition(lambda self: any(kind == "subscription" for _, kind in self.grants))
    @rule(data=st.data(), amount=amounts)
    def rolls_over(self, data: st.DataObject, amount: int) -> None:
        old = data.draw(st.sampled_from([account for account, kind in self.grants if kind == "subscription"]))
        into = Issue(kind="rollover", source=str(new_id()), customer_id=self.customer, asset="SEC:h100", amount=amount)
        self.run(lambda conn: roll_over(conn, old, into))

    @rule(passed=st.integers(1, 20))
    def time_passes(self, passed: int) -> None:
        self.now += timedelta(days=passed)
        self.run(lambda conn: conn.execute("UPDATE public.clock SET at = $1", self.now))

    @rule()
    def clerk_works(self) -> None:
        async def work(conn: Conn) -> None:
            await expire(conn)
            await seal(conn)

        self.run(work)
        self.sound()

    def teardown(self) -> None:
        self.sound()

    def sound(self) -> None:
        async def check() -> None:
            async with self.pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
                assert await verify(conn) == []

        self.runner.run(check())


@pytest.fixture
def histories(module_dsn: str) -> Iterator[type[Histories]]:
    async def make() -> Pool:
        pool = await open_pool(module_dsn, name="histories", size_min=1, size_max=1)
        async with pool.acquire() as own:
            await own.execute(CLOCK)
        return pool

    with asyncio.Runner() as runner:
        Histories.runner, Histories.pool = runner, runner.run(make())
        yield Histories
        runner.run(Histories.pool.close())


def test_every_history_leaves_a_sound_ledger(histories: type[Histories]) -> None:
    dose = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
    run_state_machine_as_test(histories, settings=dose)
