"""A process that dies at any statement, or at any request to Stripe, loses nothing: who comes after it ends where it would have.

The life of a payment is lived to its end without a cut, and then again for each moment at which it may be cut: before a
statement, after a commit, before Stripe has heard a request, or before its answer has come back.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, get_args

import msgspec
import pytest

from billing.errors import StripeAway
from billing.ledger.verify import SOUND
from billing.stripe.desk import Desk
from billing.stripe.model import Order, payment_id, refund_id
from billing.stripe.recharge import Recharge, note_recharges, set_paying
from tests.billing.plans.shop import YUAN
from tests.billing.simulator.cut import Cut
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.billing.stripe.rewind import Rewound, rewound
from tests.billing.stripe.test_histories import check_account

Json: TypeAlias = dict[str, Any]
EVERY = int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_CUTS", "61"))
"""One moment in so many is cut at; 1: each."""
FROM = int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_CUTS_FROM", "0")) % EVERY
What: TypeAlias = Literal["statement", "commit"]


class Moment(msgspec.Struct, frozen=True):
    """Where it dies: before the nth statement, or after the nth commit. What a statement has done goes with its transaction, so
    after it is before the next one, or after the commit.
    """

    what: What
    nth: int

    def falls(self, past: Rewound) -> None:
        past.dies(at=self.nth if self.what == "statement" else 0, commit=self.nth if self.what == "commit" else 0)


class Silence(msgspec.Struct, frozen=True):
    """Which request gets no answer: before Stripe has heard it, however often it is sent again, or once, after it was done."""

    method: str
    path: str
    at: Literal["before", "after"]


class Life:
    """What is done with the product, step by step. A step that was cut is done again by a process that knows nothing."""

    def __init__(self, office: Office, past: Rewound, moment: Moment | Silence | None) -> None:
        self._office, self._past, self._moment = office, past, moment

    async def live(self, steps: list[Callable[[Desk], Awaitable[object]]]) -> None:
        if isinstance(self._moment, Moment):
            self._moment.falls(self._past)
        for step in steps:
            for _ in range(3):
                try:
                    await step(self._desk())
                except (Cut, StripeAway):
                    await self._office.clock.advance(minutes=2)
                    continue
                break

    def _desk(self) -> Desk:
        return Desk(self._past.pool, self._office.stripe, self._office.shop.sellers)


def steps(office: Office, past: Rewound) -> list[Callable[[Desk], Awaitable[object]]]:
    """A top-up, a pack that is bought, a recharge by a saved card, a refund of half, a dispute that is lost, and the account."""

    async def tops_up(desk: Desk) -> None:
        await desk.pay(ANN, Order(amount_minor=100_00, flow="intent"), "top-up")

    async def buys(desk: Desk) -> None:
        await desk.pay(ANN, Order(purpose="pack", subject="pack-1000", flow="intent"), "pack")

    async def confirms(_: Desk) -> None:
        for intent in (await office.control.dump())["tables"]["payment_intent"].values():
            if intent["status"] == "requires_payment_method":
                await office.posts(f"payment_intents/{intent['id']}/confirm", payment_method="pm_card_visa", return_url=RETURN)

    async def saves(desk: Desk) -> None:
        _, stripe_id = await desk.payer(ANN)
        if not (await office.stripe.methods(stripe_id)):
            await office.posts("payment_methods/pm_card_visa/attach", customer=stripe_id)
        await desk.refresh("customer", stripe_id)

    async def recharges(_: Desk) -> None:
        wanted = Recharge(threshold_micro=150 * YUAN, amount_minor=60_00, month_max_minor=60_00)
        async with past.acquire() as conn, conn.transaction():
            await set_paying(conn, ANN, collects="send", recharge=wanted, return_url=RETURN)  # pyright: ignore[reportArgumentType] it has all that verbs use
            await note_recharges(conn)  # pyright: ignore[reportArgumentType] as above

    async def refunds(desk: Desk) -> None:
        await desk.refund(ANN, payment_id(ANN, "top-up"), amount_minor=50_00, source="half")

    async def disputes(desk: Desk) -> None:
        tables = (await office.control.dump())["tables"]
        if "dispute" not in tables:
            charge = next(one["id"] for one in tables["charge"].values() if one["amount"] == 60_00)
            dispute = await office.control.dispute(charge)
            await office.control.close_dispute(dispute["id"], "lost")
        for event in await office.events():
            await keeps(event)
        while await desk.work_events():
            pass

    async def keeps(event: Json) -> None:
        office.pool = past.pool
        await office.keeps(event)

    async def polls(desk: Desk) -> None:
        await office.clock.advance(hours=7)
        await desk.poll()
        await desk.work_events()

    async def reads(desk: Desk) -> None:
        await desk.read_account()

    return [tops_up, buys, confirms, polls, saves, recharges, polls, refunds, disputes, polls, polls, reads, reads]


async def state(office: Office) -> Json:
    read = office.shop.conn.fetch
    assert (
        await office.shop.conn.fetchval(
            "SELECT state FROM billing.payment_refund WHERE id = $1", refund_id(payment_id(ANN, "top-up"), "half")
        )
        == "succeeded"
    )
    return {
        "balances": await office.balances(),
        "books": await office.books(),
        "payments": [tuple(row) for row in await read("SELECT purpose, state, booked, received_minor, refused FROM billing.payment ORDER BY id")],
        "refunds": [tuple(row) for row in await read("SELECT state, gone, amount_minor, ours FROM billing.payment_refund ORDER BY id")],
        "disputes": [tuple(row) for row in await read("SELECT state, taken_minor FROM billing.dispute")],
        "transfers": sorted(tuple(row) for row in await read("SELECT kind, count(*) FROM billing.transfer GROUP BY kind")),
        "told": sorted(tuple(row) for row in await read("SELECT kind, count(*) FROM billing.event GROUP BY kind")),
        "charges": [(one["amount"], one["status"]) for one in (await office.control.dump())["tables"]["charge"].values()],
        "refunds there": len((await office.control.dump())["tables"]["refund"]),
    }  # fmt: skip


async def lived(office: Office, start: Json, moment: Moment | Silence | None) -> tuple[Json, dict[What, int]]:
    """The state at the end, and how many moments of each kind there were."""
    await office.control.restore(start)
    at = office.clock.at
    if isinstance(moment, Silence):
        await office.control.fault("reset", at=moment.at, method=moment.method, path=moment.path, times=3)
    async with rewound(office.shop.conn) as past:
        life = Life(office, past, moment)
        await life.live(steps(office, past))
        found = await state(office)
        assert [finding for rule in SOUND for finding in await rule.all(office.shop.conn)] == []
        await check_account(office.shop, await office.control.dump())
        moments: dict[What, int] = {"statement": past.cut.count, "commit": past.cut.commits}
    office.clock.at = at
    return found, moments


@pytest.mark.parametrize("what", get_args(What))
async def test_a_cut_at_any_moment_changes_nothing(office: Office, what: What) -> None:
    start = await office.control.dump()
    wanted, moments = await lived(office, start, None)
    assert wanted["balances"] == {"paid": 50 * YUAN, "pack": 1_000_000} and moments["statement"] > 300 and moments["commit"] > 50
    # One piece of several: how often is cut, and from where on.
    for nth in range(1 + FROM, moments[what] + 1, EVERY):
        found, _ = await lived(office, start, Moment(what, nth))
        assert found == wanted, (what, nth)
    print(f"{what}: cut at each {EVERY}th of {moments[what]}, from {1 + FROM} on")


ASKED = [
    ("POST", "/v1/customers"),
    ("POST", "/v1/payment_intents"),
    ("POST", "/v1/refunds"),
    ("GET", "/v1/payment_intents/*"),
    ("GET", "/v1/refunds*"),
]


@pytest.mark.parametrize("method,path", ASKED)
@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_request_without_an_answer_changes_nothing(
    office: Office, method: str, path: str, at: Literal["before", "after"]
) -> None:
    start = await office.control.dump()
    wanted, _ = await lived(office, start, None)
    found, _ = await lived(office, start, Silence(method, path, at))
    assert found == wanted
