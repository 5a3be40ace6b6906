"""Quotas through the door of admission: what fits is taken, what does not takes nothing."""

import asyncio
from typing import Any

import pytest

from billing.kit.query import Pool
from gateway.errors import InsufficientBalance, QuotaExceeded
from gateway.quotas.define import QuotaChange, change_quota, delete_quota, lock_quota
from gateway.quotas.model import Claim, Refusal, amounts
from gateway.quotas.reserve import QuotaBook
from gateway.submission import Admitted
from tests.quotas.desk import Desk, open_desk, video

METERS = [
    ("generated_ms", 5_000, 5_000, 3_000),
    ("money_micro", 5_000_000, 5_000_000, 3_000_000),
    ("requests", 1, 1, 1),
    ("concurrent_jobs", 1, 1, 0),
]


@pytest.mark.parametrize("meter, limit, held, used", METERS)
async def test_what_may_be_taken_is_held_until_it_is_known(desk: Desk, meter: str, limit: int, held: int, used: int) -> None:
    quota = await desk.limit(meter=meter, limit=limit, per=None if meter == "concurrent_jobs" else "day")
    admitted = await desk.admit()
    assert await desk.counts(quota) == (0, held)
    await desk.refused()
    await desk.deliver(admitted.job_id, 3000)
    assert await desk.counts(quota) == (used, 0)


@pytest.mark.parametrize("meter", ["generated_ms", "money_micro", "requests", "concurrent_jobs"])
@pytest.mark.parametrize("end", ["cancel", "fail"])
async def test_what_is_not_charged_is_given_back(desk: Desk, meter: str, end: str) -> None:
    quota = await desk.limit(meter=meter, limit=5_000_000, per=None if meter == "concurrent_jobs" else "day")
    admitted = await desk.admit()
    await getattr(desk, end)(admitted.job_id)
    assert await desk.counts(quota) == (0, 0)


async def test_a_large_request_that_is_refused_leaves_room_for_those_behind_it(desk: Desk) -> None:
    quota = await desk.limit(limit=10_000)
    assert await desk.together(video(seconds=4), video(seconds=8), video(seconds=5), video(seconds=1)) == [
        True,
        False,
        True,
        True,
    ]
    assert await desk.counts(quota) == (0, 10_000)


async def test_what_the_wallet_refuses_takes_no_room_from_those_behind_it(pool: Pool) -> None:
    desk = await open_desk(pool, name="poor")
    async with pool.acquire() as conn:
        await conn.execute("UPDATE billing.balance SET floor = posted - 6000000")
    quota = await desk.limit(limit=10_000)
    outcomes = await asyncio.gather(
        *[desk.admit(video(seconds=seconds)) for seconds in (9, 5, 3, 1)], return_exceptions=True
    )  # fmt: skip
    assert [type(one) for one in outcomes] == [InsufficientBalance, Admitted, InsufficientBalance, Admitted]
    assert await desk.counts(quota) == (0, 6000)


@pytest.mark.parametrize(
    "scope, same, another",
    [
        ("key", {}, {"caller": "other"}),
        ("model", {}, {"model": "lamp"}),
        ("end_user", {"end_user": "ann"}, {"end_user": "bob"}),
    ],
)
async def test_without_a_subject_each_counts_by_itself(
    desk: Desk, scope: str, same: dict[str, Any], another: dict[str, Any]
) -> None:
    await desk.limit(scope=scope, meter="requests", limit=1)
    users = {name: one for name, one in another.items() if name != "caller"}
    await desk.admit(video(**same))
    await desk.refused(video(**same))
    await desk.admit(video(**users), caller=desk.other if "caller" in another else None)
    await desk.refused(video(**users), caller=desk.other if "caller" in another else None)


async def test_a_subject_is_the_only_one_that_counts(desk: Desk) -> None:
    quota = await desk.limit(scope="key", subject=str(desk.caller.key_id), meter="requests", limit=1)
    await desk.admit()
    await desk.admit(caller=desk.other)
    await desk.refused()
    assert await desk.counts(quota, str(desk.caller.key_id)) == (0, 1)


async def test_all_must_allow_and_the_one_that_frees_last_is_named(desk: Desk) -> None:
    await desk.limit("day", limit=6_000)
    await desk.limit("month", limit=6_000, per="month")
    await desk.limit("wide", limit=60_000, per="hour")
    await desk.admit()
    error = await desk.refused()
    assert error.quota is not None and error.quota.name == "month"


async def test_nobody_is_named_so_nobody_counts(desk: Desk) -> None:
    await desk.limit(scope="end_user", meter="requests", limit=0)
    await desk.admit()


async def test_test_keys_have_quotas_of_their_own(pool: Pool) -> None:
    desk = await open_desk(pool, livemode=(True, False))
    await desk.limit("live", meter="requests", limit=0)
    await desk.admit(caller=desk.other)
    await desk.limit("test", meter="requests", limit=0, livemode=False)
    assert (await desk.refused(caller=desk.other)).quota is not None


async def test_another_organization_is_not_concerned(pool: Pool, desk: Desk) -> None:
    abroad = await open_desk(pool, name="abroad")
    await desk.limit(scope="model", subject="testcard", meter="requests", limit=0)
    await abroad.admit()
    await desk.refused()


async def test_a_new_limit_counts_from_the_next_request(desk: Desk) -> None:
    quota = await desk.limit(meter="requests", limit=1)
    await desk.admit()
    await desk.refused()
    async with desk.pool.acquire() as conn, conn.transaction():
        quota = await change_quota(conn, await lock_quota(conn, desk.org_id, quota.id), QuotaChange(limit=2))
    await desk.admit()
    async with desk.pool.acquire() as conn, conn.transaction():
        await change_quota(conn, await lock_quota(conn, desk.org_id, quota.id), QuotaChange(limit=0))
    assert (await desk.refused()).quota is not None
    assert await desk.counts(quota) == (0, 2)


async def test_a_deleted_quota_counts_no_more_and_its_jobs_end(desk: Desk) -> None:
    quota = await desk.limit(meter="requests", limit=1)
    admitted = await desk.admit()
    async with desk.pool.acquire() as conn, conn.transaction():
        await delete_quota(conn, await lock_quota(conn, desk.org_id, quota.id))
        assert await conn.fetchval("SELECT count(*) FROM gateway.quota_counter") == 0
    await desk.admit()
    await desk.deliver(admitted.job_id, 5000)


async def test_jobs_from_before_are_not_counted(desk: Desk) -> None:
    before = await desk.admit()
    quota = await desk.limit(limit=5_000)
    await desk.deliver(before.job_id, 5000)
    assert await desk.counts(quota) == (0, 0)
    await desk.admit()


async def test_a_replay_reserves_once(desk: Desk) -> None:
    quota = await desk.limit(meter="requests", limit=1)
    first = await desk.admit(key="a")
    again = await desk.admit(key="a")
    assert again.replayed and again.job_id == first.job_id
    assert await desk.counts(quota) == (0, 1)


async def test_a_batch_that_is_sent_again_reserves_once(desk: Desk) -> None:
    quota = await desk.limit(meter="requests", limit=2)
    asks = [desk.ask(video()), desk.ask(video(), key="k"), desk.ask(video())]
    flush = desk.admission._flush  # what the coalescer does after a lost COMMIT
    first, again = await flush(asks), await flush(asks)
    kinds = [type(one) for one in first]
    assert kinds == [Admitted, Admitted, QuotaExceeded] == [type(one) for one in again]
    assert await desk.counts(quota) == (0, 2)


async def test_money_is_counted_as_it_was_held(desk: Desk) -> None:
    """Prepaid seconds pay for some; only the money that is held counts."""
    quota = await desk.limit(meter="money_micro", limit=100_000_000)
    admitted = await desk.admit()
    async with desk.pool.acquire() as conn:
        held = await conn.fetchval("SELECT hold_micro FROM gateway.job WHERE id = $1", admitted.job_id)
    assert await desk.counts(quota) == (0, held)


async def test_many_at_once_through_two_doors_take_what_there_is(desk: Desk) -> None:
    quota = await desk.limit(meter="requests", limit=7)
    doors = [desk.admission, desk.door(), desk.door()]
    asks = [desk.ask(video()) for _ in range(60)]
    outcomes = await asyncio.gather(*[doors[n % 3].admit(ask) for n, ask in enumerate(asks)], return_exceptions=True)
    assert sum(isinstance(one, Admitted) for one in outcomes) == 7
    assert {type(one) for one in outcomes} == {Admitted, QuotaExceeded}
    assert await desk.counts(quota) == (0, 7)


async def test_soft_quotas_refuse_nothing(desk: Desk) -> None:
    quota = await desk.limit(limit=1, soft=True)
    admitted = await desk.admit()
    assert admitted.limits == {}
    assert await desk.counts(quota) == (0, 5000)


async def test_an_admitted_request_says_what_is_left(desk: Desk) -> None:
    await desk.limit("daily", limit=12_000)
    await desk.limit("jobs", meter="concurrent_jobs", per=None, limit=3)
    admitted = await desk.admit()
    assert admitted.limits["RateLimit-Policy"] == '"daily";q=12000;w=86400;qu="generated-ms"'
    assert admitted.limits["RateLimit"].startswith('"daily";r=7000;t=')
    assert (await desk.admit()).limits["RateLimit"].startswith('"daily";r=2000;t=')
    assert (await desk.admit(video(seconds=1))).limits == {
        "RateLimit-Policy": '"jobs";q=3;qu="concurrent-requests"',
        "RateLimit": '"jobs";r=0',
    }


async def test_images_are_counted_by_how_many_may_be_made(desk: Desk) -> None:
    """No route makes images yet, so this asks the room itself."""
    await desk.limit("images", meter="images", limit=5)
    await desk.limit("seconds", meter="generated_ms", limit=0)
    who = desk.caller
    three = Claim(
        org_id=who.org_id, livemode=True, project_id=who.project_id, key_id=who.key_id, model="still", end_user="",
        amounts=amounts(generated_ms=0, money_micro=1, images=3),
    )  # fmt: skip
    async with desk.pool.acquire() as conn:
        asking = conn.transaction()
        await asking.start()
        room = await QuotaBook().room(conn, [three])
        first, second = room.take(three), room.take(three)
        assert isinstance(second, Refusal) and (second.quota.name, second.held, second.requested) == ("images", 3, 3)
        await room.write(conn)
        assert not isinstance(first, Refusal) and first.counters is not None
        assert await conn.fetchval("SELECT sum(held) FROM gateway.quota_counter") == 3
        await asking.rollback()
