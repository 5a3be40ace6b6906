"""Payees are paid by transfers at Stripe: who may be, as far as the balance goes, once, and owed again if it comes back."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import httpx
import pytest

from billing.errors import StripeAway
from billing.ledger.verify import SOUND
from billing.shares.model import PayeeChange
from billing.shares.payees import set_payee
from billing.shares.payouts import hold_payee
from billing.stripe.desk import Desk
from billing.stripe.reconcile import reconcile
from tests.billing.plans.shop import YUAN
from tests.billing.simulator.cut import Cut
from tests.billing.stripe.office import KEY, RETURN, Office
from tests.billing.stripe.payees import NEW_YEAR, earns, fills, onboards, owed, payee, payouts
from tests.billing.stripe.rewind import rewound
from tests.billing.stripe.test_cuts import EVERY, Moment, Silence, What
from tests.billing.stripe.test_histories import check_account


async def at_stripe(office: Office, kind: str) -> list[dict[str, Any]]:
    return list((await office.control.dump())["tables"].get(kind, {}).values())


async def ready(office: Office, amount_micro: int = 60 * YUAN, balance_minor: int = 100_00) -> str:
    """A payee that Stripe knows, with something owed to it and something to pay it from."""
    await fills(office, balance_minor)
    await earns(office, "ann", amount_micro)
    account = await onboards(office, "ann")
    await office.hears(await office.events())
    return account


async def clerk(office: Office, **after: int) -> None:
    await office.clock.advance(**after or {"hours": 2})
    await office.desk.paymaster.pay()
    await office.desk.read_account()


async def check(office: Office) -> None:
    """The ledger is sound, and its clearing account Stripe's balance."""
    await office.desk.read_account()
    assert [finding for rule in SOUND for finding in await rule.all(office.shop.conn)] == []
    await check_account(office.shop, await office.control.dump())
    report = await office.shop.does(reconcile, NEW_YEAR)
    assert report.raised == () and all(account.unexplained_micro == 0 for account in report.accounts)
    transfers = await at_stripe(office, "transfer")
    paid = await office.shop.conn.fetch("SELECT outside_id, amount_micro FROM billing.payout WHERE state = 'paid'")
    assert {tuple(row) for row in paid} == {(one["id"], one["amount"] * 10_000) for one in transfers}


async def test_who_stripe_has_checked_is_paid_what_it_is_owed(office: Office) -> None:
    await fills(office, 100_00)
    await earns(office, "ann", 60 * YUAN + 5)
    account = await onboards(office, "ann")
    assert (await payee(office, "ann")).waits_for == "verification" and "external_account" in (
        await payee(office, "ann")
    ).requirements
    await clerk(office)
    found = await payee(office, "ann")
    assert (found.verified, found.requirements, found.waits_for) == (True, [], "")
    await clerk(office)
    (made,) = await payouts(office, "ann")
    (transfer,) = await at_stripe(office, "transfer")
    assert (made.state, made.outside_id, made.destination) == ("paid", transfer["id"], account)
    assert (transfer["amount"], transfer["destination"], await owed(office, "ann")) == (60_00, account, 5)
    assert (await office.books()).get("liability:payout_transit", 0) == 0
    await check(office)
    # What it must still tell is heard of by a message, or asked for within a day.
    await office.control.require(account, ["individual.id_number"])
    await office.hears((await office.events())[-1:])
    assert (await payee(office, "ann")).requirements == ["individual.id_number"]
    await office.control.require(account)
    await clerk(office)
    assert (await payee(office, "ann")).verified


async def test_the_same_account_and_page_for_who_asks_again(office: Office) -> None:
    await earns(office, "ann", YUAN)
    await office.control.fault("reset", at="after", method="POST", path="/v1/accounts", times=1)
    accounts = {await onboards(office, "ann") for _ in range(2)}
    assert len(accounts) == 1 == len(await at_stripe(office, "account"))


async def test_what_the_balance_does_not_cover_waits_and_says_so(office: Office) -> None:
    await fills(office, 100_00)
    for name, amount in (("ann", 90 * YUAN), ("ben", 50 * YUAN)):
        await earns(office, name, amount)
        await onboards(office, name)
    await earns(office, "cyd", 20 * YUAN, currency="USD")
    await onboards(office, "cyd")
    await office.hears(await office.events())
    await clerk(office)
    paid = [name for name in ("ann", "ben", "cyd") if await payouts(office, name)]
    waits = {name: (await payee(office, name)).waits_for for name in ("ann", "ben", "cyd")}
    assert len(paid) == 1 and sorted(waits.values()) == ["", "balance", "balance"] and waits[paid[0]] == ""
    assert len(await at_stripe(office, "transfer")) == 1
    await fills(office, 200_00, "more")
    await clerk(office)
    assert {name: (await payee(office, name)).waits_for for name in ("ann", "ben", "cyd")} == {
        "ann": "",
        "ben": "",
        "cyd": "balance",
    }
    await check(office)


@pytest.mark.parametrize(
    "what",
    [
        {"what": "reset", "at": "before", "times": 9},
        {"what": "reset", "at": "after", "times": 9},
        {"what": "cut", "at": "after", "times": 9},
        {"what": "error", "at": "before", "times": 9, "status": 429, "code": "lock_timeout"},
        {"what": "error", "at": "after", "times": 9, "status": 500},
    ],
)  # fmt: skip
async def test_an_answer_that_is_lost_is_one_transfer(office: Office, what: dict[str, Any]) -> None:
    await ready(office)
    await office.control.fault(method="POST", path="/v1/transfers", **what)
    for _ in range(2):
        with suppress(StripeAway):
            await clerk(office)
    await office.control.clear_faults()
    await clerk(office, days=2)  # the key is forgotten by now
    await clerk(office, days=2)
    assert len(await at_stripe(office, "transfer")) == 1
    await check(office)


async def test_a_balance_that_fell_in_between_is_no_payment_and_no_loss(office: Office) -> None:
    """A payout to the bank was faster: Stripe refuses, it is owed again and paid when there is money again."""
    await ready(office)
    await office.control.fault(
        "error", method="POST", path="/v1/transfers", status=400, type="invalid_request_error", code="balance_insufficient"
    )
    await clerk(office)
    (failed,) = await payouts(office, "ann")
    assert (failed.state, failed.reason, await owed(office, "ann")) == ("failed", "balance_insufficient", 60 * YUAN)
    await clerk(office, minutes=5)
    assert len(await payouts(office, "ann")) == 1  # not every minute anew
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["failed", "paid"]
    await check(office)


async def test_what_stripe_refuses_for_good_is_for_people_to_see(office: Office) -> None:
    await ready(office)
    await office.control.fault(
        "error", method="POST", path="/v1/transfers", status=400, type="invalid_request_error", code="no_account"
    )
    await clerk(office)
    assert (await payee(office, "ann")).held == "Stripe refuses: no_account" and await owed(office, "ann") == 60 * YUAN
    await clerk(office)
    await office.shop.does(set_payee, "ann", PayeeChange(held=None))
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["failed", "paid"]
    await check(office)


async def test_an_account_that_stripe_has_stopped_is_not_paid(office: Office) -> None:
    account = await ready(office, 5 * YUAN)
    await clerk(office)
    await earns(office, "ann", 60 * YUAN, nth=2)
    await office.control.require(account, ["individual.id_number"])  # nobody has told us
    await clerk(office, minutes=5)
    (failed,) = await payouts(office, "ann")
    found = await payee(office, "ann")
    assert (failed.reason, found.held, found.waits_for) == ("insufficient_capabilities_for_transfer", None, "verification")
    await office.control.require(account)
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["failed", "paid"]
    await check(office)


async def test_an_account_that_is_gone_is_missing_and_stops_nobody_else(office: Office) -> None:
    account = await ready(office)
    await earns(office, "ben", 20 * YUAN)
    await onboards(office, "ben")
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, trust_env=False) as client:
        assert (await client.delete(f"{office.url}/v1/accounts/{account}")).status_code == 200
    await clerk(office)
    await clerk(office)
    found = await payee(office, "ann")
    assert (found.verified, found.requirements, await payouts(office, "ann")) == (False, ["account_invalid"], [])
    assert [one.state for one in await payouts(office, "ben")] == ["paid"]


async def test_a_payee_that_is_held_is_sent_nothing_not_even_what_was_made(office: Office) -> None:
    await ready(office)
    await office.control.fault("reset", method="POST", path="/v1/transfers", times=9)
    with pytest.raises(StripeAway):
        await clerk(office)
    await office.control.clear_faults()
    await office.shop.does(hold_payee, (await payee(office, "ann")).id, "a dispute about the contract")
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["due"] and await at_stripe(office, "transfer") == []
    await office.shop.does(set_payee, "ann", PayeeChange(held=None))
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["paid"]
    await check(office)


@pytest.mark.parametrize("heard", ["message", "twice", "out of order", "account"])
async def test_what_is_taken_back_is_owed_again_once(office: Office, heard: str) -> None:
    await ready(office)
    await clerk(office)
    (transfer,) = await at_stripe(office, "transfer")
    for amount in (10_00, 50_00):
        assert await office.posts(f"transfers/{transfer['id']}/reversals", amount=amount) == 200
    told = [event for event in await office.events() if event["type"] == "transfer.reversed"]
    if heard != "account":
        await office.hears({"message": told, "twice": [*told, *told], "out of order": told[::-1]}[heard])
    await clerk(office)
    (made,) = await payouts(office, "ann")
    assert (made.state, made.reversed_micro, await owed(office, "ann")) == ("paid", 60 * YUAN, 60 * YUAN)
    assert (await payee(office, "ann")).held == f"{transfer['id']} was reversed"
    await clerk(office)
    assert len(await payouts(office, "ann")) == 1
    await check(office)
    await office.shop.does(set_payee, "ann", PayeeChange(held=None))
    await office.hears(told)
    await clerk(office)
    assert [one.state for one in await payouts(office, "ann")] == ["paid", "paid"]
    await check(office)


async def test_a_transfer_that_is_none_of_ours_is_raised(office: Office) -> None:
    account = await ready(office, 5 * YUAN)
    assert await office.posts("transfers", amount=7_00, currency="cny", destination=account) == 200
    await office.hears(await office.events())
    await clerk(office)
    report = await office.shop.does(reconcile, NEW_YEAR)
    assert [(one.reason, one.rows[0].kind) for one in report.raised] == [("not_booked", "transfer")]


async def test_many_clerks_pay_once_and_never_more_than_there_is(office: Office) -> None:
    names = [f"p{nth}" for nth in range(6)]
    await fills(office, 100_00)
    for name in names:
        await earns(office, name, 30 * YUAN)
        await onboards(office, name)
    await office.hears(await office.events())
    desks = [Desk(office.pool, office.stripe, office.shop.sellers) for _ in range(4)]
    dice = random.Random(1)
    for _ in range(3):
        await office.clock.advance(hours=2)
        await asyncio.gather(*(desk.paymaster.pay(dice.randint(1, 5)) for desk in desks))
    states = [one.state for name in names for one in await payouts(office, name)]
    assert states == ["paid"] * 3 and len(await at_stripe(office, "transfer")) == 3
    assert sorted([(await payee(office, name)).waits_for for name in names]) == [""] * 3 + ["balance"] * 3


# -- cuts --------------------------------------------------------------------------------------------------------------
async def lived(office: Office, start: Any, moment: Moment | Silence | None) -> tuple[Any, dict[What, int]]:
    """A payee is connected, verified, paid, and its transfer reversed in part; each step is tried again by a new process.

    Returns the end, and how many moments of each kind there were.
    """
    await office.control.restore(start)
    at = office.clock.at
    if isinstance(moment, Silence):
        await office.control.fault("reset", at=moment.at, method=moment.method, path=moment.path, times=3)
    async with rewound(office.shop.conn) as past:
        if isinstance(moment, Moment):
            moment.falls(past)

        async def connects(desk: Desk) -> None:
            await desk.paymaster.onboard("ann", "US", RETURN)

        async def tells(_: Desk) -> None:
            for account in await at_stripe(office, "account"):
                await office.control.require(account["id"])

        async def pays(desk: Desk) -> None:
            await desk.paymaster.pay()

        async def reverses(_: Desk) -> None:
            for transfer in await at_stripe(office, "transfer"):
                if not transfer["amount_reversed"]:
                    await office.posts(f"transfers/{transfer['id']}/reversals", amount=10_00)

        async def reads(desk: Desk) -> None:
            await desk.read_account()

        for step in (connects, tells, pays, pays, reverses, reads, reads):
            await office.clock.advance(hours=2)
            for _ in range(3):
                try:
                    await step(Desk(past.pool, office.stripe, office.shop.sellers))
                except (Cut, StripeAway):
                    await office.clock.advance(hours=2)
                    continue
                break
        moments: dict[What, int] = {"statement": past.cut.count, "commit": past.cut.commits}
        past.dies()  # no more
        office.desk = Desk(past.pool, office.stripe, office.shop.sellers)
        await check(office)
        (made,) = await payouts(office, "ann")
        found = (
            made.state,
            made.reversed_micro,
            await owed(office, "ann"),
            (await payee(office, "ann")).waits_for,
            await office.books(),
        )
        assert len(await at_stripe(office, "account")) == 1
    office.clock.at = at
    return found, moments


async def test_a_cut_at_any_moment_or_request_pays_once(office: Office) -> None:
    await fills(office, 100_00)
    await earns(office, "ann", 60 * YUAN)
    start = await office.control.dump()
    wanted, moments = await lived(office, start, None)
    assert wanted[:3] == ("paid", 10 * YUAN, 10 * YUAN) and moments["statement"] > 40 and moments["commit"] > 10
    asked = (
        ("POST", "/v1/accounts"),
        ("GET", "/v1/accounts/*"),
        ("GET", "/v1/balance"),
        ("GET", "/v1/transfers*"),
        ("POST", "/v1/transfers"),
    )
    silences = [Silence(method, path, at) for method, path in asked for at in ("before", "after")]
    cuts = [Moment(what, nth) for what, count in moments.items() for nth in range(1, count + 1, min(EVERY, 11))]
    for moment in (*silences, *cuts):
        assert (await lived(office, start, moment))[0] == wanted, moment
    print(f"a payout: {len(silences)} requests without an answer, {len(cuts)} of {sum(moments.values())} moments cut")
