"""Hold, settle, release, refund as the gateway calls them: what moves, what is recorded, and what a second call finds."""

import msgspec
import pytest

from billing.charges.model import Attempt, Refund, Settled
from billing.kit.ids import new_id
from billing.ledger.grants import Issue, issue
from billing.ledger.model import PLATFORM, Held, Refunded, Sponsor, wallet_id
from billing.pricing.charge import charge
from tests.billing.charges.till import (
    FACTS,
    GRADUATED,
    IMAGES,
    PACKED,
    PLAIN,
    SECOND,
    Till,
    delivering,
    ended,
    open_till,
)
from tests.billing.ledger.book import codes

FAILED = Attempt(number=1, pool="l40s", chip="L40S", outcome="failed", run_ms=400, cost_micro=300)


async def test_what_was_delivered_is_charged_and_recorded_and_the_rest_is_free(till: Till) -> None:
    delivery = delivering(await till.held(8000), 5000)
    assert await till.settle(delivery) == [Settled(delivery.id, 5 * SECOND, 0, 0)]
    assert await till.balance() == (95 * SECOND, 0)
    assert await till.usage(delivery.id) == [("charge", "succeeded", 0, 5 * SECOND, 0, 5 * SECOND, 0, 5000, 0, 1200)]
    assert await till.cost(delivery.id) == 1200


async def test_usage_has_the_moment_of_its_transfer(till: Till) -> None:
    settled = await till.settled()
    await till.refund(Refund(id=settled.id, reason="bad"))
    pairs = await till.conn.fetch(
        "SELECT u.at, t.created_at FROM billing.usage u JOIN billing.usage_series s ON s.id = u.series_id"
        " JOIN billing.transfer t ON t.subject_id = u.subject_id AND t.kind = CASE s.kind WHEN 'charge' THEN 'capture' ELSE 'refund' END"
    )
    assert len(pairs) == 2 and all(pair[0] == pair[1] for pair in pairs)


async def test_more_than_was_asked_for_is_not_charged(till: Till) -> None:
    delivery = delivering(await till.held(8000), 9000)
    assert await till.settle(delivery) == [Settled(delivery.id, 8 * SECOND, 0, 0)]
    assert (await till.usage(delivery.id))[0][7] == 9000


async def test_promotional_money_is_told_apart(till: Till) -> None:
    await till.grant("promo", 3 * SECOND)
    settled = await till.settled(5000)
    assert (settled.amount_micro, settled.granted_micro) == (5 * SECOND, 3 * SECOND)
    assert await till.usage(settled.id) == [("charge", "succeeded", 3 * SECOND, 2 * SECOND, 0, 5 * SECOND, 0, 5000, 0, 1200)]


async def test_prepaid_seconds_come_before_money_and_their_revenue_is_recorded(till: Till) -> None:
    await till.pack(3000, 1_800_000)
    settled = await till.settled(5000, PACKED)
    assert (settled.seconds_ms, settled.amount_micro) == (3000, 2 * SECOND)
    assert await till.usage(settled.id) == [("charge", "succeeded", 0, 2 * SECOND, 1_800_000, 5 * SECOND, 3000, 5000, 0, 1200)]
    await till.refund(Refund(id=settled.id, reason="bad"))
    assert (await till.usage(settled.id))[1] == (
        "refund",
        "succeeded",
        0,
        -2 * SECOND,
        -1_800_000,
        -5 * SECOND,
        -3000,
        -5000,
        0,
        0,
    )
    assert (await till.balance("SEC:hd"), await till.balance()) == ((3000, 0), (100 * SECOND, 0))


async def test_seconds_alone_are_enough(till: Till) -> None:
    poor = await open_till(till.conn, 0)
    await poor.pack(8000, 800)
    assert (await poor.settled(8000, PACKED)).amount_micro == 0
    assert codes(await poor.hold(poor.request(1, PACKED))) == ["insufficient_funds"]


async def test_images_are_counted_not_timed(till: Till) -> None:
    delivery = delivering(await till.held(4, IMAGES), 3)
    assert await till.settle(delivery, delivery) == [Settled(delivery.id, 600_000, 0, 0)] * 2
    assert await till.usage(delivery.id) == [("charge", "succeeded", 0, 600_000, 0, 600_000, 0, 0, 3, 1200)]
    assert await till.settle(delivery) == [Settled(delivery.id, 600_000, 0, 0)]
    assert codes(await till.settle(delivering(delivery, 2))) == ["transfer_conflict"]


async def test_settling_again_returns_what_was_charged_and_records_nothing(till: Till) -> None:
    delivery = await till.held()
    first = await till.settle(delivery)
    assert await till.settle(delivery, delivery) == first * 2
    assert codes(await till.settle(delivering(delivery, 7000), delivery)) == ["transfer_conflict", "ok"]
    assert (await till.balance(), len(await till.usage(delivery.id))) == ((92 * SECOND, 0), 1)


async def test_a_batch_has_one_outcome_each_in_order(till: Till) -> None:
    one, two, three, never = await till.held(), await till.held(), await till.held(), await till.held()
    assert codes(await till.release(ended(three, None))) == ["ok"]
    unknown = msgspec.structs.replace(never, id=new_id())
    outcomes = await till.settle(two, unknown, one, three, two, delivering(one, 1))
    assert codes(outcomes) == ["ok", "hold_not_open", "ok", "hold_not_open", "ok", "transfer_conflict"]
    assert await till.balance() == (84 * SECOND, 8 * SECOND)


async def test_five_hundred_and_twelve_at_once(till: Till) -> None:
    requests = [till.request(100) for _ in range(512)]
    assert set(codes(await till.hold(*requests))) == {"ok"}
    one = await till.held(100)
    deliveries = [msgspec.structs.replace(one, id=request.id) for request in requests]
    assert set(codes(await till.settle(*deliveries, one))) == {"ok"}
    assert await till.balance() == (100 * SECOND - 513 * 100_000, 0)


# -- graduated prices --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch", [1, 3, 12])
async def test_every_millisecond_of_a_month_is_priced_at_its_place_once(till: Till, batch: int) -> None:
    """10 s at the full price, 10 s at half, the rest at a tenth: however the jobs are batched, sent again or refunded."""
    jobs = [await till.held(2500, GRADUATED) for _ in range(12)]
    total = 0
    for start in range(0, 12, batch):
        part = jobs[start : start + batch]
        settled = await till.settle(*part)
        assert await till.settle(*part) == settled
        total += sum(one.amount_micro for one in settled if isinstance(one, Settled))
    assert total == charge(GRADUATED, 30_000) == 16 * SECOND
    await till.refund(Refund(id=jobs[0].id, reason="bad"))
    assert (await till.settled(1000, GRADUATED)).amount_micro == 100_000


async def test_what_is_refused_or_released_takes_no_place(till: Till) -> None:
    first, second = await till.held(9000, GRADUATED), await till.held(9000, GRADUATED)
    await till.release(ended(first, FACTS))
    await till.settle(first)
    (settled,) = await till.settle(second)
    assert isinstance(settled, Settled) and settled.amount_micro == 9 * SECOND


async def test_prepaid_seconds_take_no_place_either(till: Till) -> None:
    terms = msgspec.structs.replace(GRADUATED, seconds_class="hd")
    await till.pack(9000, 900)
    assert (await till.settled(9000, terms)).amount_micro == 0
    assert (await till.settled(10_000, terms)).amount_micro == 10 * SECOND


# -- release -----------------------------------------------------------------------------------------------------------
async def test_a_failed_job_costs_the_customer_nothing_and_us_what_it_ran(till: Till) -> None:
    delivery = await till.held()
    job = ended(delivery, msgspec.structs.replace(FACTS, attempts=(FAILED, msgspec.structs.replace(FAILED, number=2))))
    for _ in range(2):
        assert codes(await till.release(job, job)) == ["ok", "ok"]
    assert await till.balance() == (100 * SECOND, 0)
    assert await till.usage(delivery.id) == [("charge", "failed", 0, 0, 0, 0, 0, 0, 0, 600)]
    assert await till.cost(delivery.id) == 600
    assert codes(await till.settle(delivery)) == ["hold_not_open"]


async def test_a_job_that_never_ran_leaves_no_row(till: Till) -> None:
    delivery = await till.held()
    await till.release(ended(delivery, None, "cancelled"))
    assert (await till.usage(delivery.id), await till.cost(delivery.id)) == ([], 0)


async def test_a_settled_job_is_not_released(till: Till) -> None:
    delivery = await till.held()
    await till.settle(delivery)
    assert codes(await till.release(ended(delivery, FACTS))) == ["hold_not_open"]
    assert len(await till.usage(delivery.id)) == 1


async def test_a_failed_attempt_is_paid_by_us_also_where_the_next_one_delivers(till: Till) -> None:
    delivery = await till.held()
    attempts = (FAILED, msgspec.structs.replace(FACTS.attempts[0], number=2))
    await till.settle(msgspec.structs.replace(delivery, facts=msgspec.structs.replace(FACTS, attempts=attempts)))
    assert (await till.usage(delivery.id))[0][-1] == await till.cost(delivery.id) == 1500


# -- refund ------------------------------------------------------------------------------------------------------------
async def test_a_late_failure_gives_all_of_it_back_once(till: Till) -> None:
    await till.grant("promo", 3 * SECOND)
    settled = await till.settled()
    first = await till.refund(Refund(id=settled.id, reason="finding-1"))
    assert isinstance(first[0], Refunded) and (first[0].amount_micro, first[0].promo_micro) == (8 * SECOND, 3 * SECOND)
    again = Refund(id=settled.id, reason="finding-1")
    assert await till.refund(again, again) == first * 2
    assert codes(await till.refund(Refund(id=settled.id, reason="finding-2"))) == ["refund_exceeds_capture"]
    assert await till.balance() == (103 * SECOND, 0)
    charged, back = await till.usage(settled.id)
    assert back[2:-1] == tuple(-figure for figure in charged[2:-1]) and back[-1] == 0


async def test_a_part_is_given_back_and_later_the_rest(till: Till) -> None:
    settled = await till.settled()
    part = Refund(id=settled.id, reason="ticket", amount_micro=3 * SECOND)
    too_much = Refund(id=settled.id, reason="other", amount_micro=6 * SECOND)
    assert codes(await till.refund(part, too_much, part)) == ["ok", "refund_exceeds_capture", "ok"]
    other_amount = msgspec.structs.replace(part, amount_micro=SECOND)
    assert codes(await till.refund(other_amount)) == ["transfer_conflict"]
    await till.refund(Refund(id=settled.id, reason="finding"))
    rows = await till.usage(settled.id)
    assert [row[3] for row in rows] == [8 * SECOND, -3 * SECOND, -5 * SECOND]
    assert [row[7] for row in rows] == [8000, 0, -8000]
    assert await till.balance() == (100 * SECOND, 0)


async def test_a_part_and_the_rest_in_one_call_are_the_whole(till: Till) -> None:
    settled = await till.settled()
    part, rest = Refund(id=settled.id, reason="ticket", amount_micro=3 * SECOND), Refund(id=settled.id, reason="finding")
    assert codes(await till.refund(part, rest, rest)) == ["ok", "ok", "ok"]
    rows = await till.usage(settled.id)
    assert len(rows) == 3 and [sum(row[n] for row in rows) for n in range(2, 9)] == [0] * 7


@pytest.mark.parametrize("amount_micro", [0, -1, 9 * SECOND])
async def test_no_more_is_given_back_than_was_charged(till: Till, amount_micro: int) -> None:
    settled = await till.settled()
    assert codes(await till.refund(Refund(id=settled.id, reason="x", amount_micro=amount_micro))) == ["refund_exceeds_capture"]


async def test_what_was_not_settled_is_not_refunded(till: Till) -> None:
    held, released = await till.held(), await till.held()
    await till.release(ended(released, FACTS))
    for job in (held.id, released.id, new_id()):
        assert codes(await till.refund(Refund(id=job, reason="x"))) == ["refund_exceeds_capture"]
    assert await till.usage(held.id) == []


# -- hold --------------------------------------------------------------------------------------------------------------
async def test_the_maximum_is_held_and_asked_again_the_same(till: Till) -> None:
    request = till.request(8000, GRADUATED)
    assert await till.hold(request, request) == [Held(request.id, 8 * SECOND)] * 2
    assert codes(await till.hold(msgspec.structs.replace(request, quantity=7000))) == ["transfer_conflict"]
    assert codes(await till.hold(till.request(93_000), till.request(1000))) == ["insufficient_funds", "ok"]


async def test_a_sponsored_job_takes_its_compute_cost_from_the_budget(till: Till) -> None:
    async with till.conn.transaction():
        await issue(till.conn, [Issue(kind="budget", source="today", customer_id=PLATFORM, asset="USD", amount=3000)])
    budget = wallet_id(PLATFORM, "live", "USD")
    await till.grant("allowance", 20_000)
    request = till.request(8000, PACKED, sponsor=Sponsor(budget, 2000))
    assert codes(await till.hold(request, till.request(8000, PACKED, sponsor=Sponsor(budget, 2000)))) == ["ok", "budget_spent"]
    delivery = msgspec.structs.replace(await till.held(1000, PLAIN), id=request.id, terms=PACKED, requested=8000, delivered=8000)
    (settled,) = await till.settle(delivery)
    assert settled == Settled(request.id, 0, 8000, 0)
    assert await till.conn.fetchval("SELECT sum(posted)::int FROM billing.balance WHERE wallet_id = $1", budget) == 1800
