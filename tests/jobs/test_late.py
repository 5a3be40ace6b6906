"""A start that came later than promised gives a share of the price back: once, as credit, and not for what was not paid."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.pricing.model import Terms, encode_terms
from billing.reports.model import StatementOf
from billing.reports.period import Period, zone_of
from billing.reports.statement import statement
from gateway.jobs.late.credit import credit_late_starts
from gateway.jobs.late.model import LateStart, credit_micro
from tests.jobs.shop import FUNDS_MICRO, Shop

CHARGED_MICRO = 5_000_000


async def delivered(shop: Shop, *, late_s: float | None, livemode: bool = True) -> UUID:
    """A job that started so much later than promised (None: nothing was promised) and was delivered."""
    job_id = await shop.enqueue(livemode=livemode, promise_s=None if late_s is None else 60.0)
    if late_s is not None:
        await shop.conn.execute(
            "UPDATE gateway.job SET promised_start_at = created_at - make_interval(secs => $2) WHERE id = $1", job_id, late_s
        )
    (held,) = await shop.lease()
    assert await shop.settle(shop.delivered(held)) == [True]
    return job_id


async def credit(shop: Shop, percent: int = 25) -> int:
    async with shop.conn.transaction():
        return await credit_late_starts(shop.conn, percent=percent)


async def credited(shop: Shop, job_id: UUID) -> int | None:
    return await shop.conn.fetchval("SELECT credited_micro FROM gateway.job WHERE id = $1", job_id)


async def balance(shop: Shop) -> int:
    return await shop.conn.fetchval(
        "SELECT sum(b.posted)::bigint FROM billing.balance b JOIN billing.wallet w ON w.id = b.wallet_id"
        " WHERE w.customer_id = $1 AND w.book = 'live'",
        shop.org_id,
    )


async def test_a_late_start_is_credited_once_and_stands_in_the_statement(shop: Shop) -> None:
    late, kept, unpromised = [await delivered(shop, late_s=late_s) for late_s in (5.0, -60.0, None)]
    assert await credit(shop) == 1
    assert await credit(shop) == 0
    assert [await credited(shop, job) for job in (late, kept, unpromised)] == [CHARGED_MICRO // 4, None, None]
    assert await balance(shop) == FUNDS_MICRO - 3 * CHARGED_MICRO + CHARGED_MICRO // 4
    assert await shop.findings() == []
    now = datetime.now(UTC)
    period = Period(now - timedelta(days=1), now + timedelta(days=1), zone_of("UTC"))
    async with shop.conn.transaction(readonly=True):
        told = await statement(shop.conn, StatementOf(shop.org_id, "live", "CNY", period))
    assert [line.amount for line in told.movements if line.kind == "sla"] == [CHARGED_MICRO // 4]


async def test_clerks_side_by_side_credit_once(shop: Shop, pool: Pool) -> None:
    job = await delivered(shop, late_s=5.0)

    async def one() -> int:
        async with pool.acquire() as conn, conn.transaction():
            return await credit_late_starts(conn, percent=25)

    assert sum(await asyncio.gather(*[one() for _ in range(4)])) == 1
    assert await credited(shop, job) == CHARGED_MICRO // 4
    assert await balance(shop) == FUNDS_MICRO - CHARGED_MICRO + CHARGED_MICRO // 4


async def test_what_cost_nothing_gives_nothing_back(shop: Shop) -> None:
    test = await delivered(shop, late_s=5.0, livemode=False)
    assert await credit(shop) == 0
    assert await credited(shop, test) is None
    failed = await shop.enqueue(promise_s=60.0)
    (held,) = await shop.lease()
    await shop.give_up(held, final=True)
    assert await credit(shop) == 0
    assert await credited(shop, failed) is None


async def test_no_percent_is_no_credit(shop: Shop) -> None:
    job = await delivered(shop, late_s=5.0)
    assert await credit(shop, percent=0) == 1
    assert await credited(shop, job) == 0
    assert await balance(shop) == FUNDS_MICRO - CHARGED_MICRO


@given(
    charged_micro=st.integers(0, 10**12), charged_ms=st.integers(0, 10**6), rate=st.integers(0, 10**8), percent=st.integers(0, 100)
)  # fmt: skip
def test_never_more_than_was_paid(charged_micro: int, charged_ms: int, rate: int, percent: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    terms = encode_terms(Terms(rate_card_id=new_id(), currency="CNY", price_micro=rate))
    given_back = credit_micro(LateStart(new_id(), new_id(), now, now, charged_micro, charged_ms, terms), percent)
    assert 0 <= given_back * 100 <= (charged_micro + rate * charged_ms // 1000) * percent


@pytest.mark.parametrize("state", ["queued", "failed"])
async def test_only_what_was_delivered_can_be_credited(shop: Shop, state: str) -> None:
    job = await shop.enqueue()
    if state == "failed":
        (held,) = await shop.lease()
        await shop.give_up(held, final=True)
    with pytest.raises(Exception, match="job_credited_only_if_succeeded"):
        await shop.conn.execute("UPDATE gateway.job SET credited_micro = 1 WHERE id = $1", job)
