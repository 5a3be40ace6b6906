"""Long random lives: customers, banks, operators and the network do what they like; the money adds up at every step.

Each life is drawn from a seed, so it can be lived again: `TALLYLIGHT_TEST_PAYMENT_SEED=7 TALLYLIGHT_TEST_PAYMENT_LIVES=1`.
"""

import contextlib
import os
import random
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from billing.errors import BillingError, InsufficientFunds
from billing.ledger.verify import SOUND
from billing.stripe.desk import Desk
from billing.stripe.model import Order
from billing.stripe.recharge import Recharge, note_recharges, set_paying
from billing.stripe.reconcile import reconcile
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import RETURN, Office
from tests.billing.stripe.rewind import rewound

Json: TypeAlias = dict[str, Any]
LIVES = int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_LIVES", "2"))
SEED = int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_SEED", "1"))
STEPS = 40
CUSTOMERS = (UUID(int=1), UUID(int=2))
CARDS = (
    "visa",
    "visa",
    "mastercard",
    "chargeCustomerFail",
    "refundFail",
    "pendingRefund",
    "createDispute",
    "bypassPending",
    "visa_chargeDeclined",
)
RULED = frozenset({"dispute_open", "payout_failed"})
"""What a sound day may still ask people to do."""


class Life:
    """One life. `used` is what each customer has spent on jobs."""

    def __init__(self, office: Office, dice: random.Random) -> None:
        self._office, self._dice = office, dice
        self._intents: list[str] = []
        self._payments: list[tuple[UUID, UUID]] = []
        self._heard: set[str] = set()
        self._nth = 0
        self.used = dict.fromkeys(CUSTOMERS, 0)

    async def step(self) -> str:
        acts = [
            self.pays, self.pays, self.confirms, self.confirms, self.refunds, self.refunds_at_stripe, self.disputes, self.rules,
            self.uses, self.recharges, self.pays_out, self.hears, self.hears, self.hears, self.polls, self.reads, self.waits, self.fails,
        ]  # fmt: skip
        act = self._dice.choice(acts)
        with contextlib.suppress(BillingError):  # refused, or no answer: whatever it was, the money adds up
            await act()
        return act.__name__

    async def pays(self) -> None:
        self._nth += 1
        customer = self._dice.choice(CUSTOMERS)
        pack = self._dice.random() < 0.2
        order = Order(purpose="pack", subject="pack-1000", flow="intent", methods=("card",)) if pack else Order(
            amount_minor=self._dice.randint(4_00, 900_00), flow=self._dice.choice(("intent", "intent", "checkout")), return_url=RETURN,
            methods=self._dice.choice((("card",), ("card", "alipay"))), saves=self._dice.random() < 0.3,
        )  # fmt: skip
        started = await self._office.desk.pay(customer, order, str(self._nth))
        self._payments.append((customer, started.payment.id))
        if started.payment.intent_id:
            self._intents.append(started.payment.intent_id)

    async def confirms(self) -> None:
        if not self._intents:
            return
        intent = self._dice.choice(self._intents)
        if self._dice.random() < 0.2:
            await self._office.posts(
                f"payment_intents/{intent}/confirm", **{"payment_method_data[type]": "alipay", "return_url": RETURN}
            )
            if await self._table("payment_intent", intent, "status") == "requires_action":
                await self._office.control.authenticate(intent, ok=self._dice.random() < 0.7)
        else:
            await self._office.posts(
                f"payment_intents/{intent}/confirm", payment_method=f"pm_card_{self._dice.choice(CARDS)}", return_url=RETURN
            )

    async def refunds(self) -> None:
        if self._payments:
            customer, payment = self._dice.choice(self._payments)
            await self._office.desk.refund(
                customer, payment, amount_minor=self._dice.choice((None, 1_00, 50_00)), source=str(self._dice.random())
            )

    async def refunds_at_stripe(self) -> None:
        if charges := await self._charges():
            await self._office.posts("refunds", charge=self._dice.choice(charges), amount=self._dice.randint(1, 100_00))

    async def disputes(self) -> None:
        charges = [one for one in await self._charges() if not await self._table("charge", one, "disputed")]
        if charges:
            await self._office.control.dispute(self._dice.choice(charges))

    async def rules(self) -> None:
        tables = (await self._office.control.dump())["tables"].get("dispute", {})
        open_ones = [one["id"] for one in tables.values() if "needs_response" in one["status"]]
        if open_ones:
            await self._office.control.close_dispute(self._dice.choice(open_ones), self._dice.choice(("won", "lost")))

    async def uses(self) -> None:
        customer = self._dice.choice(CUSTOMERS)
        seconds = self._dice.randint(1, 40) * 1000
        held = await self._office.shop.holds(customer, seconds)
        if not isinstance(held, InsufficientFunds | BillingError):
            settled = await self._office.shop.settles(customer, held, seconds)
            self.used[customer] += settled.amount_micro

    async def recharges(self) -> None:
        wanted = Recharge(threshold_micro=20 * YUAN, amount_minor=50_00, month_max_minor=150_00)
        if self._dice.random() < 0.3:
            customer = self._dice.choice(CUSTOMERS)
            _, stripe_id = await self._office.desk.payer(customer)
            await self._office.posts(
                f"payment_methods/pm_card_{self._dice.choice(('visa', 'chargeCustomerFail', 'authenticationRequired'))}/attach",
                customer=stripe_id,
            )
            await self._office.shop.does(set_paying, customer, collects="send", recharge=wanted, return_url=RETURN)
        await self._office.shop.does(note_recharges)

    async def pays_out(self) -> None:
        await self._office.posts("payouts", amount=self._dice.randint(1_00, 50_00), currency="cny")

    async def hears(self) -> None:
        events = await self._office.events()
        new = [event for event in events if event["id"] not in self._heard]
        chosen = self._dice.sample(new, min(len(new), self._dice.randint(0, 6))) + self._dice.sample(events, min(len(events), 1))
        for event in chosen:
            self._heard.add(event["id"])
            await self._office.keeps(event)
        for event in new:
            if self._dice.random() < 0.1:
                self._heard.add(event["id"])  # lost
        await self._office.desk.work_events(self._dice.randint(1, 50))

    async def polls(self) -> None:
        await self._office.desk.poll(self._dice.randint(1, 20))

    async def reads(self) -> None:
        await self._office.desk.read_account()

    async def waits(self) -> None:
        await self._office.advance(seconds=self._dice.choice((30, 600, 7200, 86_400)))

    async def fails(self) -> None:
        await self._office.control.fault(
            "reset",
            at=self._dice.choice(("before", "after")),
            method=self._dice.choice(("POST", "GET")),
            times=self._dice.choice((1, 3)),
        )

    async def ends(self) -> None:
        """No more faults, and no more messages: the clerk alone, for four days."""
        await self._office.control.clear_faults()
        for _ in range(16):
            await self._office.advance(hours=7)
            await self._office.desk.work_events()
            await self._office.desk.poll()
            await self._office.desk.read_account()

    async def _charges(self) -> list[str]:
        tables = (await self._office.control.dump())["tables"].get("charge", {})
        return [one["id"] for one in tables.values() if one["status"] == "succeeded"]

    async def _table(self, kind: str, named: str, field: str) -> Any:
        return (await self._office.control.dump())["tables"][kind][named][field]


async def check_books(office: Office) -> None:
    """Sound at every moment: customers', ours, and what is in between sum to nothing."""
    assert [finding for rule in SOUND for finding in await rule.all(office.shop.conn)] == []
    rows = await office.shop.conn.fetch("SELECT asset, sum(amount) AS sum FROM billing.entry GROUP BY asset")
    assert all(row["sum"] == 0 for row in rows)


async def check_end(office: Office, life: Life) -> None:
    """What entered, less what left, is what customers have, what they used, what we owe and what Stripe kept."""
    tables = (await office.control.dump())["tables"]
    ours = {
        row["intent_id"]
        for row in await office.shop.conn.fetch("SELECT intent_id FROM billing.payment WHERE state = 'succeeded'")
    }
    assert ours == {one["id"] for one in tables.get("payment_intent", {}).values() if one["status"] == "succeeded"}
    moved = tables.get("balance_transaction", {}).values()
    entered = sum(one["amount"] for one in moved if one["type"] in ("charge", "payment"))
    left = -sum(one["amount"] for one in moved if one["type"] not in ("charge", "payment", "payout", "payout_failure"))
    books = await office.books()
    rows = await office.shop.conn.fetch(
        "SELECT sum(b.posted) AS sum FROM billing.balance b JOIN billing.account a ON a.id = b.account_id WHERE a.asset = 'CNY'"
    )
    owned = int(rows[0]["sum"] or 0)
    earned_or_owed = sum(
        books.get(name, 0)
        for name in ("revenue:usage", "liability:deferred", "liability:tax", "liability:refund_transit", "expense:rounding")
    )
    assert owned + earned_or_owed == (entered - left) * 10_000
    assert books.get("liability:refund_transit", 0) == 0
    assert -books.get("asset:clearing", 0) == sum(one["net"] for one in moved) * 10_000
    report = await office.shop.does(reconcile, (office.clock.at + timedelta(days=1)).date())
    assert {one.reason for one in report.raised} <= RULED and report.explained == ()
    assert all(account.unexplained_micro == 0 for account in report.accounts)


@pytest.mark.parametrize("seed", range(SEED, SEED + LIVES))
async def test_the_money_adds_up_whatever_happens(office: Office, seed: int) -> None:
    dice = random.Random(seed)
    await office.opens(CUSTOMERS[1])
    async with rewound(office.shop.conn) as past:
        office.pool = past.pool
        office.desk = Desk(past.pool, office.stripe, office.shop.sellers)
        life = Life(office, dice)
        done: list[str] = []
        for _ in range(STEPS):
            done.append(await life.step())
            await check_books(office)
        await life.ends()
        await check_books(office)
        await check_end(office, life)
