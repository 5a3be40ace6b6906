"""Admission through its door, on a real database: what a caller gets, and what the ledger then says."""

import asyncio
from uuid import UUID

import msgspec
import pytest

from billing.kit.ids import new_id
from billing.kit.query import Pool
from billing.ledger.model import wallet_id
from billing.ledger.verify import verify
from billing.ledger.wallets import top_up, wallets
from billing.plans.budgets import open_budget_days
from billing.plans.calendar import Every
from billing.plans.catalogue import publish_catalogue
from billing.plans.model import Budget, Catalogue, FreePlan
from billing.plans.subscribe import subscribe
from billing.pricing.book import PriceBook, publish
from billing.pricing.model import ModelRates, RateCard, decode_terms
from gateway.access.authenticate import Authenticator
from gateway.access.keys import issue_key
from gateway.access.model import Caller
from gateway.access.organizations import open_organization
from gateway.access.revoke import revoke_key
from gateway.access.uses import KeyUses
from gateway.admit import Admission
from gateway.errors import (
    FreeBudgetSpent,
    GatewayError,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidRequest,
    PlanPastDue,
    Unauthenticated,
)
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.offers import load_sellers
from gateway.fleet.promises.quotes import Quotes
from gateway.submission import Admitted, Submission, submission
from gateway.video import Job, VideoRequest

CARD = RateCard("CNY", {"testcard": ModelRates(1_000_000, {"480p": 10_000, "720p": 10_000}, {"standard": 10_000})})


def video(prompt: str = "a lamp", frames: int = 120) -> VideoRequest:
    return VideoRequest(
        model="testcard", prompt=prompt, width=1280, height=720, fps=24, frames=frames, resolution="720p", ratio="16:9",
        steps=10, guidance=5.0, queue_deadline_s=3600,
    )  # fmt: skip


def render(job: Job) -> bytes:
    return msgspec.json.encode({"id": job.public_id, "at": job.created_at})


class Desk:
    """An organization with ten yuan and a live key."""

    def __init__(self, pool: Pool, org_id: UUID, caller: Caller, token: str) -> None:
        self.pool, self.org_id, self.caller, self.token = pool, org_id, caller, token
        self.admission = Admission(pool, PriceBook(), ComputeCosts({}), Quotes(pool, {}), waiting_max=4096)

    def ask(self, request: VideoRequest, *, key: str | None = None, retry: int = 0) -> Submission:
        return submission(
            self.caller, new_id(), request, dialect="native", status=201, render=render, idempotency_key=key, retry=retry
        )

    async def admit(self, request: VideoRequest | None = None, *, key: str | None = None, retry: int = 0) -> Admitted:
        return await self.admission.admit(self.ask(request or video(), key=key, retry=retry))

    async def wallet(self) -> tuple[int, int]:
        async with self.pool.acquire() as conn:
            live = next(wallet for wallet in await wallets(conn, self.org_id) if wallet.book == "live")
            assert await verify(conn) == []
            return live.posted, live.held


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    async with pool.acquire() as conn, conn.transaction():
        organization = await open_organization(conn, "acme", "CNY")
        await top_up(conn, source="first", customer_id=organization.id, asset="CNY", amount_micro=10_000_000)
        await publish(conn, CARD)
        _, token = await issue_key(conn, organization.id, name="k", livemode=True)
    caller = await Authenticator(pool, KeyUses(pool), ttl_s=0).caller(token)
    return Desk(pool, organization.id, caller, token)


async def test_holds_the_most_it_may_cost(desk: Desk) -> None:
    admitted = await desk.admit()
    assert admitted.status == 201 and not admitted.replayed
    assert await desk.wallet() == (10_000_000, 5_000_000)


async def test_a_refused_request_holds_nothing_and_lets_a_smaller_one_pass(desk: Desk) -> None:
    outcomes = await asyncio.gather(
        desk.admit(video(frames=24 * 8)),
        desk.admit(video(frames=24 * 9)),
        desk.admit(video(frames=24 * 2)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], InsufficientBalance)
    assert isinstance(outcomes[0], Admitted) and isinstance(outcomes[2], Admitted)
    assert await desk.wallet() == (10_000_000, 10_000_000)


async def test_many_at_once_never_spend_more_than_there_is(desk: Desk) -> None:
    outcomes = await asyncio.gather(*[desk.admit() for _ in range(200)], return_exceptions=True)
    assert sum(isinstance(o, Admitted) for o in outcomes) == 2
    assert {type(o) for o in outcomes} == {Admitted, InsufficientBalance}
    assert await desk.wallet() == (10_000_000, 10_000_000)


async def test_an_idempotency_key_gets_the_same_answer(desk: Desk) -> None:
    first = await desk.admit(key="a")
    again = await desk.admit(key="a")
    assert (again.status, again.body, again.job_id) == (first.status, first.body, first.job_id)
    assert again.replayed
    assert await desk.wallet() == (10_000_000, 5_000_000)


async def test_an_idempotency_key_with_another_body_is_refused(desk: Desk) -> None:
    await desk.admit(key="a")
    with pytest.raises(IdempotencyMismatch):
        await desk.admit(video("another"), key="a")
    assert await desk.wallet() == (10_000_000, 5_000_000)


async def test_equal_keys_at_once_are_admitted_once(desk: Desk) -> None:
    other = Admission(desk.pool, PriceBook(), ComputeCosts({}), Quotes(desk.pool, {}), waiting_max=64)
    asks = [desk.ask(video(), key="a") for _ in range(40)]
    doors = [desk.admission, other]
    outcomes = await asyncio.gather(*[doors[i % 2].admit(ask) for i, ask in enumerate(asks)], return_exceptions=True)
    jobs = {o.job_id for o in outcomes if isinstance(o, Admitted)}
    assert len(jobs) == 1
    assert {type(o) for o in outcomes} <= {Admitted, IdempotencyInProgress}
    assert await desk.wallet() == (10_000_000, 5_000_000)


async def test_a_refused_request_is_not_remembered(desk: Desk) -> None:
    with pytest.raises(InsufficientBalance):
        await desk.admit(video(frames=24 * 11), key="a")
    async with desk.pool.acquire() as conn, conn.transaction():
        await top_up(conn, source="second", customer_id=desk.org_id, asset="CNY", amount_micro=10_000_000)
    assert not (await desk.admit(video(frames=24 * 11), key="a")).replayed


async def test_a_counted_retry_takes_over_its_first_try(desk: Desk) -> None:
    first, twin = await desk.admit(), await desk.admit()
    retried = [await desk.admit(retry=1), await desk.admit(retry=1)]
    assert [r.job_id for r in retried] == [first.job_id, twin.job_id]
    assert [r.body for r in retried] == [first.body, twin.body]
    with pytest.raises(InsufficientBalance):  # a third is nobody's retry, and there is no money left
        await desk.admit(retry=1)


async def test_a_counted_retry_without_a_first_try_is_a_new_job(desk: Desk) -> None:
    assert not (await desk.admit(retry=2)).replayed


async def test_the_same_batch_sent_again_reads_its_own_outcome(desk: Desk) -> None:
    asks = [desk.ask(video()), desk.ask(video(), key="k"), desk.ask(video(frames=24))]
    flush = desk.admission._flush  # pyright: ignore[reportPrivateUsage] – what the coalescer does after a lost COMMIT
    first, again = await flush(asks), await flush(asks)
    assert [o if isinstance(o, Admitted) else type(o) for o in first] == [
        o if isinstance(o, Admitted) else type(o) for o in again
    ]
    assert await desk.wallet() == (10_000_000, 10_000_000)


async def test_a_revoked_key_does_not_spend_even_if_it_was_authenticated(desk: Desk) -> None:
    async with desk.pool.acquire() as conn:
        await revoke_key(conn, desk.org_id, desk.caller.key_id)
    with pytest.raises(Unauthenticated):
        await desk.admit()
    with pytest.raises(GatewayError):
        await Authenticator(desk.pool, KeyUses(desk.pool), ttl_s=0).caller(desk.token)
    assert await desk.wallet() == (10_000_000, 0)


async def test_own_prices_are_held_and_frozen(desk: Desk) -> None:
    own = RateCard("CNY", {"testcard": ModelRates(500_000, {"720p": 10_000}, {"standard": 10_000})})
    before = await desk.admit()
    async with desk.pool.acquire() as conn, conn.transaction():
        agreed = await publish(conn, own, customer_id=desk.org_id)
    after = await desk.admit()
    assert await desk.wallet() == (10_000_000, 5_000_000 + 2_500_000)
    async with desk.pool.acquire() as conn:
        rows = await conn.fetch("SELECT id, terms, hold_micro FROM gateway.job")
    terms = {row["id"]: (decode_terms(row["terms"]), row["hold_micro"]) for row in rows}
    frozen = {job_id: (one.rate_card_id == agreed, one.rate_micro, hold) for job_id, (one, hold) in terms.items()}
    assert frozen == {before.job_id: (False, 1_000_000, 5_000_000), after.job_id: (True, 500_000, 2_500_000)}


async def test_no_currency_stands_in_for_another(pool: Pool, desk: Desk) -> None:
    async with pool.acquire() as conn, conn.transaction():
        dollars = await open_organization(conn, "dollars", "USD")
        await top_up(conn, source="dollars", customer_id=dollars.id, asset="USD", amount_micro=10_000_000)
        _, token = await issue_key(conn, dollars.id, name="k", livemode=True)
    abroad = Desk(pool, dollars.id, await Authenticator(pool, KeyUses(pool), ttl_s=0).caller(token), token)
    with pytest.raises(InvalidRequest, match="no prices are published in this organization's currency"):
        await abroad.admit()
    assert await abroad.wallet() == (10_000_000, 0)


async def test_what_has_no_price_is_refused_beside_what_has(desk: Desk) -> None:
    strange = msgspec.structs.replace(video(), tier="flex")
    outcomes = await asyncio.gather(desk.admit(), desk.admit(strange), return_exceptions=True)
    assert isinstance(outcomes[0], Admitted) and isinstance(outcomes[1], InvalidRequest)
    assert "testcard with tier flex" in outcomes[1].message
    assert await desk.wallet() == (10_000_000, 5_000_000)


# -- what a plan says --------------------------------------------------------------------------------------------------
OFFERS = Catalogue(
    plans=(
        FreePlan(name="free", title="Free", every=Every("month"), seconds_class="plain", allowance_ms=20_000, budget="gifts"),
    ),
    budgets=(Budget(name="gifts", per_day_micro=1000, time_zone="UTC", days_ahead=0),),
)
PLAIN = msgspec.structs.replace(CARD.models["testcard"], seconds_class={"720p": "plain"})
COSTS = ComputeCosts({("testcard", "720p"): [(0.0, 1.0, 720_000)]})
"""A second costs 200 micro-dollars: five seconds of video are a day's budget."""


async def on_the_free_plan(desk: Desk) -> None:
    async with desk.pool.acquire() as conn, conn.transaction():
        await publish(conn, RateCard("CNY", {"testcard": PLAIN}))
        await publish_catalogue(conn, OFFERS)
        await subscribe(conn, load_sellers(""), customer_id=desk.org_id, plan="free", source="s1")
        await open_budget_days(conn)
    desk.admission = Admission(desk.pool, PriceBook(), COSTS, Quotes(desk.pool, {}), waiting_max=64)


async def test_free_seconds_need_our_budget_and_are_refused_with_the_reason(desk: Desk) -> None:
    await on_the_free_plan(desk)
    admitted = await desk.admit()
    async with desk.pool.acquire() as conn:
        job = await conn.fetchrow("SELECT hold_ms, hold_micro FROM gateway.job WHERE id = $1", admitted.job_id)
    assert job is not None
    assert (job["hold_ms"], job["hold_micro"]) == (5000, 0)
    with pytest.raises(FreeBudgetSpent):
        await desk.admit()
    assert await desk.wallet() == (10_000_000, 0)


async def test_what_the_allowance_does_not_cover_is_paid_and_needs_no_budget_of_ours(desk: Desk) -> None:
    await on_the_free_plan(desk)
    async with desk.pool.acquire() as conn:
        await conn.execute(
            "UPDATE billing.balance SET held = posted WHERE wallet_id = $1", wallet_id(desk.org_id, "live", "SEC:plain")
        )
    await desk.admit()
    await desk.admit()
    async with desk.pool.acquire() as conn:
        await conn.execute(
            "UPDATE billing.balance SET held = 0 WHERE wallet_id = $1", wallet_id(desk.org_id, "live", "SEC:plain")
        )
    assert await desk.wallet() == (10_000_000, 10_000_000)


async def test_a_plan_that_is_past_due_starts_nothing(desk: Desk) -> None:
    await on_the_free_plan(desk)
    async with desk.pool.acquire() as conn:
        await conn.execute("UPDATE billing.subscription SET state = 'past_due'")
    with pytest.raises(PlanPastDue):
        await desk.admit()
    assert await desk.wallet() == (10_000_000, 0)
