"""Every order in which Stripe's messages may come, doubled and lost, ends in one state of the books.

A history is what customers, banks and operators do at Stripe, with Stripe as it stood after each step. A telling of it lets
each message arrive at any moment after what it is about, in any order, again, or never; then the reconciler looks.
"""

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations, permutations
from typing import Any, TypeAlias

import msgspec
import pytest

from billing.ledger.verify import SOUND
from billing.stripe.desk import Desk
from tests.billing.plans.shop import Shop
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.billing.stripe.rewind import rewound

Json: TypeAlias = dict[str, Any]
TELLINGS = int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_HISTORIES", "8"))
"""How many tellings of each history are drawn; 0: every order, every loss, every double at every place."""


class Step(msgspec.Struct, frozen=True):
    """Stripe after something was done there, and what it then told."""

    stripe: Json
    events: tuple[Json, ...]


class Telling(msgspec.Struct, frozen=True):
    """Which message arrives at which step, in order; a step without any is one that nothing was heard of."""

    heard: tuple[tuple[int, int], ...]
    """(step, message)"""


async def lives(office: Office, acts: Sequence[Callable[[Office, Json], Awaitable[object]]], told: Sequence[str]) -> list[Step]:
    """Does the acts one after the other; of the messages only those of the kinds `told` are kept, six at most."""
    steps: list[Step] = []
    known: set[str] = {event["id"] for event in await office.events()}
    memory: Json = {}
    left = 6
    for act in acts:
        await act(office, memory)
        new = [event for event in await office.events() if event["id"] not in known]
        known |= {event["id"] for event in new}
        kept = tuple(event for event in new if event["type"] in told)[:left]
        left -= len(kept)
        steps.append(Step(await office.control.dump(), kept))
    return steps


def pays(card: str) -> Callable[[Office, Json], Awaitable[object]]:
    async def act(office: Office, memory: Json) -> None:
        memory.setdefault("started", await started(office))
        await office.confirms(memory["started"], card)

    return act


async def started(office: Office) -> Any:
    from billing.stripe.model import Order

    return await office.desk.pay(ANN, Order(amount_minor=100_00, flow="intent", methods=("card", "alipay")), "s")


async def _charge(office: Office) -> str:
    return next(
        charge["id"] for charge in (await office.control.dump())["tables"]["charge"].values() if charge["status"] == "succeeded"
    )


async def disputes(office: Office, memory: Json) -> None:
    memory["dispute"] = (await office.control.dispute(await _charge(office)))["id"]


def rules(verdict: str) -> Callable[[Office, Json], Awaitable[object]]:
    async def act(office: Office, memory: Json) -> None:
        await office.control.close_dispute(memory["dispute"], verdict)

    return act


async def refunds_half(office: Office, memory: Json) -> None:
    assert await office.posts("refunds", charge=await _charge(office), amount=50_00) == 200


async def settles_late(office: Office, memory: Json) -> None:
    await office.control.settle_charge(await _charge(office))


async def refund_fails(office: Office, memory: Json) -> None:
    (refund,) = (await office.control.dump())["tables"]["refund"]
    await office.control.settle_refund(refund, "fail")


async def alipay(office: Office, memory: Json) -> None:
    memory.setdefault("started", await started(office))
    form = {"payment_method_data[type]": "alipay", "return_url": RETURN}
    await office.posts(f"payment_intents/{memory['started'].payment.intent_id}/confirm", **form)


async def authenticates(office: Office, memory: Json) -> None:
    await office.control.authenticate(memory["started"].payment.intent_id, ok=True)


PAID = ("payment_intent.succeeded", "charge.succeeded")
HISTORIES: dict[str, tuple[tuple[Callable[[Office, Json], Awaitable[object]], ...], tuple[str, ...]]] = {
    "declined, paid, disputed, won": (
        (pays("pm_card_visa_chargeDeclined"), pays("pm_card_visa"), disputes, rules("won")),
        ("payment_intent.payment_failed", "payment_intent.succeeded", "charge.dispute.created", "charge.dispute.funds_withdrawn",
         "charge.dispute.funds_reinstated", "charge.dispute.closed"),
    ),
    "paid, disputed, lost": (
        (pays("pm_card_visa"), disputes, rules("lost")),
        (*PAID, "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"),
    ),
    "paid, half of it refunded at Stripe, which fails": (
        (pays("pm_card_refundFail"), refunds_half, refund_fails),
        (*PAID, "refund.created", "charge.refunded", "refund.failed", "refund.updated"),
    ),
    "paid with a late fee, refunded, then disputed": (
        (pays("pm_card_visa"), settles_late, refunds_half, disputes),
        (*PAID, "charge.updated", "refund.created", "charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ),
    "paid by Alipay": (
        (alipay, authenticates, refunds_half),
        ("payment_intent.requires_action", *PAID, "refund.created", "charge.refunded", "refund.updated"),
    ),
}  # fmt: skip


def tellings(steps: Sequence[Step], dice: random.Random) -> list[Telling]:
    messages = [(nth, step) for step, one in enumerate(steps) for nth in range(len(one.events))]
    flat = [(step, index) for index, (_, step) in enumerate(messages)]
    if not TELLINGS:
        lost = [kept for count in range(len(flat)) for kept in combinations(flat, count)]
        doubled = [(*flat[:place], one, *flat[place:]) for one in flat for place in range(len(flat) + 1)]
        return [_moments(order, len(steps), dice) for order in (*permutations(flat), *lost, *doubled)]
    drawn: list[Telling] = []
    for _ in range(TELLINGS):
        chosen = [one for one in flat if dice.random() < 0.8]
        chosen += [one for one in chosen if dice.random() < 0.3]
        dice.shuffle(chosen)
        drawn.append(_moments(chosen, len(steps), dice))
    return drawn


def _moments(order: Sequence[tuple[int, int]], steps: int, dice: random.Random) -> Telling:
    """Moments for messages in this order: none before what it tells, none before the one before it."""
    heard: list[tuple[int, int]] = []
    moment = 0
    for step, index in order:
        moment = max(moment, step)
        if dice.random() < 0.3:
            moment = dice.randint(moment, steps - 1)
        heard.append((moment, index))
    return Telling(tuple(heard))


async def tell(office: Office, steps: Sequence[Step], telling: Telling) -> None:
    events = [event for step in steps for event in step.events]
    moment = -1
    for at, index in telling.heard:
        if at != moment:
            await office.control.restore(steps[at].stripe)
            moment = at
        await office.hears([events[index]])
    await office.control.restore(steps[-1].stripe)
    for _ in range(2):
        await office.clock.advance(hours=7)
        await office.works()
        await office.desk.poll()
        await office.desk.read_account()


async def state(office: Office) -> Json:
    """Everything that may not depend on what was heard when."""
    read = office.shop.conn.fetch
    return {
        "transfers": {str(row["id"]): row["payload"] for row in await read("SELECT id, payload FROM billing.transfer")},
        "entries": sorted(tuple(row) for row in await read("SELECT transfer_id, leg, account_id, amount FROM billing.entry")),
        "balances": sorted(tuple(row) for row in await read("SELECT account_id, posted, held, floor FROM billing.balance")),
        "payments": [tuple(row) for row in await read("SELECT id, state, booked, received_minor, failure, refused, charge_id FROM billing.payment ORDER BY id")],
        "refunds": [tuple(row) for row in await read("SELECT id, state, gone, amount_minor FROM billing.payment_refund ORDER BY id")],
        "disputes": [tuple(row) for row in await read("SELECT stripe_id, state, taken_minor FROM billing.dispute ORDER BY stripe_id")],
        "account": [tuple(row) for row in await read("SELECT id, transfer_id, booked_at IS NOT NULL FROM billing.stripe_transaction ORDER BY id")],
        "told": sorted(tuple(row) for row in await read("SELECT kind, id FROM billing.event WHERE kind !~ '^(plan|invoice)'")),
    }  # fmt: skip


async def check_account(shop: Shop, stripe: Json) -> None:
    """What the clearing account holds is Stripe's balance, to the last fen."""
    movements = stripe["tables"].get("balance_transaction", {}).values()
    there = sum(row["net"] for row in movements if row["id"] not in stripe["owner"])  # theirs are connected accounts'
    books = await shop.books()
    assert -books.get("asset:clearing", 0) == there * 10_000


@pytest.mark.parametrize("name", HISTORIES)
async def test_any_telling_of_a_history_ends_in_one_state(office: Office, name: str) -> None:
    acts, told = HISTORIES[name]
    if "late fee" in name:
        await office.control.settings(balance_transaction="on_command")
    await started(office)
    steps = await lives(office, acts, told)
    assert 4 <= sum(len(step.events) for step in steps) <= 6
    dice = random.Random(name)
    in_order = Telling(tuple((step, index) for index, step in enumerate(s for s, one in enumerate(steps) for _ in one.events)))
    wanted: Json | None = None
    for telling in [in_order, Telling(()), *tellings(steps, dice)]:
        async with rewound(office.shop.conn) as past:
            office.desk = Desk(past.pool, office.stripe, office.shop.sellers)
            office.pool = past.pool
            start = office.clock.at
            await tell(office, steps, telling)
            found = await state(office)
            if wanted is None:  # it and all that are equal to it
                assert [finding for rule in SOUND for finding in await rule.all(office.shop.conn)] == []
                await check_account(office.shop, steps[-1].stripe)
            office.clock.at = start
        wanted = wanted or found
        assert found == wanted, telling
