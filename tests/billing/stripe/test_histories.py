"""Every order in which Stripe's messages may come, doubled and lost, ends in one state of the books.

A history is what customers, banks and operators do at Stripe, with Stripe as it stood after each step. A telling of it lets
each message arrive at any moment after what it is about, in any order, again, or never; then the reconciler looks. All of them
are told: `walk.py` goes on once from each state of the books that any of them leads to.
"""

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
import pytest

from billing.errors import StripeAway
from billing.ledger.verify import SOUND
from billing.stripe.desk import Desk
from tests.billing.plans.shop import Shop
from tests.billing.stripe.office import ANN, RETURN, Office
from tests.billing.stripe.payees import earns, fills, onboards
from tests.billing.stripe.rewind import rewound
from tests.billing.stripe.walk import Walk
from tests.stripe.server.server import Server

Json: TypeAlias = dict[str, Any]


class Step(msgspec.Struct, frozen=True):
    """Stripe after something was done there, and what it then told."""

    stripe: bytes
    events: tuple[Json, ...]


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
        steps.append(Step(json.dumps(await office.control.dump()).encode(), kept))
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


async def sends(office: Office, memory: Json) -> None:
    """A payee's transfer is made at Stripe, and the answer is lost."""
    await fills(office, 100_00)
    await earns(office, "ann", 60_000_000)
    memory["account"] = await onboards(office, "ann")
    await office.control.fault("cut", at="after", method="POST", path="/v1/transfers", times=9)
    with suppress(StripeAway):
        await office.desk.paymaster.pay()
    await office.control.clear_faults()


def takes_back(amount_minor: int) -> Callable[[Office, Json], Awaitable[object]]:
    async def act(office: Office, memory: Json) -> None:
        (transfer,) = (await office.control.dump())["tables"]["transfer"]
        assert await office.posts(f"transfers/{transfer}/reversals", amount=amount_minor) == 200

    return act


async def asks_more(office: Office, memory: Json) -> None:
    await office.control.require(memory["account"], ["individual.id_number"])


PAID = ("payment_intent.succeeded", "charge.succeeded")
HISTORIES: dict[str, tuple[tuple[Callable[[Office, Json], Awaitable[object]], ...], tuple[str, ...]]] = {
    "paid by Alipay": (
        (alipay, authenticates, refunds_half),
        ("payment_intent.requires_action", *PAID, "refund.created", "charge.refunded", "refund.updated"),
    ),
    "paid, disputed, lost": (
        (pays("pm_card_visa"), disputes, rules("lost")),
        (*PAID, "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"),
    ),
    "declined, paid, disputed, won": (
        (pays("pm_card_visa_chargeDeclined"), pays("pm_card_visa"), disputes, rules("won")),
        ("payment_intent.payment_failed", "payment_intent.succeeded", "charge.dispute.created", "charge.dispute.funds_withdrawn",
         "charge.dispute.funds_reinstated", "charge.dispute.closed"),
    ),
    "paid, half of it refunded at Stripe, which fails": (
        (pays("pm_card_refundFail"), refunds_half, refund_fails),
        (*PAID, "refund.created", "charge.refunded", "refund.failed", "refund.updated"),
    ),
    "paid with a late fee, refunded, then disputed": (
        (pays("pm_card_visa"), settles_late, refunds_half, disputes),
        (*PAID, "charge.updated", "refund.created", "charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ),
    "a payee is paid, and it is taken back": (
        (sends, takes_back(10_00), takes_back(50_00), asks_more), ("account.updated", "transfer.created", "transfer.reversed"),
    ),
}  # fmt: skip


# How many of the histories are told, from the shortest on.
CHOSEN = list(HISTORIES)[: int(os.environ.get("TALLYLIGHT_TEST_PAYMENT_HISTORIES", "1"))]


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
        "payees": [tuple(row) for row in await read("SELECT reference, verified, requirements, held FROM billing.payee")],
        "payouts": [tuple(row) for row in await read("SELECT p.id, state, outside_id, r.id, r.amount_micro FROM billing.payout p LEFT JOIN billing.payout_reversal r ON r.payout_id = p.id ORDER BY r.id")],
        "told": sorted(tuple(row) for row in await read("SELECT kind, id FROM billing.event WHERE kind !~ '^(plan|invoice)'")),
    }  # fmt: skip


async def check_account(shop: Shop, stripe: Json) -> None:
    """What the clearing account holds is Stripe's balance, to the last fen."""
    movements = stripe["tables"].get("balance_transaction", {}).values()
    there = sum(row["net"] for row in movements if row["id"] not in stripe["owner"])  # theirs are connected accounts'
    books = await shop.books()
    assert -books.get("asset:clearing", 0) == there * 10_000


async def ends(office: Office, server: Server, steps: Sequence[Step]) -> Json:
    """Nothing more is heard: the clerk looks for itself, for half a day. What the books are then."""
    server.world.restore(steps[-1].stripe)
    before = office.clock.at
    for _ in range(2):
        await office.clock.advance(hours=7)
        await office.works()
        await office.desk.poll()
        await office.desk.paymaster.pay()
        await office.desk.read_account()
    office.clock.at = before
    return await state(office)


@pytest.mark.parametrize("name", CHOSEN)
async def test_every_telling_of_a_history_ends_in_one_state(office: Office, stripe_server: Server, name: str) -> None:
    acts, told = HISTORIES[name]
    if "late fee" in name:
        await office.control.settings(balance_transaction="on_command")
    await started(office)
    steps = await lives(office, acts, told)
    events = [[event for step in steps[: nth + 1] for event in step.events] for nth in range(len(steps))]
    assert 4 <= len(events[-1]) <= 6
    wanted: list[Json] = []

    async def end() -> None:
        found = await ends(office, stripe_server, steps)
        if not wanted:  # it and all that are equal to it
            wanted.append(found)
            assert [finding for rule in SOUND for finding in await rule.all(office.shop.conn)] == []
            await check_account(office.shop, json.loads(steps[-1].stripe))
        assert found == wanted[0]

    async def hear(step: int, nth: int) -> None:
        stripe_server.world.restore(steps[step].stripe)
        await office.hears([events[step][nth]])

    stripe_server.api.log.clear()
    async with rewound(office.shop.conn) as past:
        office.desk, office.pool = Desk(past.pool, office.stripe, office.shop.sellers), past.pool
        walk = Walk(office.shop.conn, [len(known) for known in events], hear, end)
        found = await walk.all()
    assert {one["method"] for one in stripe_server.api.log} == {"GET"}, "what is done at Stripe is undone with each message"
    assert found.tellings > 2 ** len(events[-1])
    print(f"{name}: {len(events[-1])} messages, {found.tellings} tellings, {found.states} states, {found.ends} ends told on")
