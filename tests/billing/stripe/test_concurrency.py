"""Several clerks and several customers' pages at once: each thing is booked once, and nobody is left waiting."""

import asyncio

from billing.stripe.desk import Desk
from billing.stripe.model import Order
from tests.billing.plans.shop import YUAN
from tests.billing.stripe.office import ANN, Office
from tests.billing.stripe.test_histories import check_account


def desks(office: Office, count: int) -> list[Desk]:
    return [Desk(office.pool, office.stripe, office.shop.sellers) for _ in range(count)]


async def test_many_clerks_book_everything_once(office: Office) -> None:
    for nth in range(4):
        await office.pays(100_00, source=f"top-up {nth}")
    await office.pays(0, purpose="pack", subject="pack-1000", source="pack")
    (first, *_) = (await office.control.dump())["tables"]["charge"]
    await office.control.dispute(first)
    await office.posts("refunds", charge=list((await office.control.dump())["tables"]["charge"])[1], amount=30_00)
    for event in await office.events():
        await office.keeps(event)
    await office.clock.advance(minutes=5)
    for _ in range(3):
        await asyncio.gather(
            *(work for desk in desks(office, 4) for work in (desk.work_events(5), desk.poll(), desk.read_account()))
        )
        await office.clock.advance(minutes=5)
    assert await office.balances() == {"paid": (400 - 100 - 30) * YUAN, "pack": 1_000_000}
    await check_account(office.shop, await office.control.dump())
    assert await office.shop.conn.fetchval("SELECT count(*) FROM billing.stripe_event WHERE done_at IS NULL") == 0


async def test_the_same_payment_asked_for_at_once_is_one(office: Office) -> None:
    order = Order(amount_minor=100_00, flow="intent")
    started = await asyncio.gather(*(desk.pay(ANN, order, "s") for desk in desks(office, 6)))
    assert len({one.payment.intent_id for one in started}) == 1
    tables = (await office.control.dump())["tables"]
    assert (len(tables["payment_intent"]), len(tables["customer"])) == (1, 1)
    await office.confirms(started[0])
    paid = started[0].payment.id
    refunds = await asyncio.gather(*(desk.refund(ANN, paid, amount_minor=40_00, source="r") for desk in await _booked(office)))
    assert len({one.id for one in refunds}) == 1
    assert len((await office.control.dump())["tables"]["refund"]) == 1
    assert await office.balances() == {"paid": 60 * YUAN}


async def _booked(office: Office) -> list[Desk]:
    await office.hears(await office.events())
    return desks(office, 6)
