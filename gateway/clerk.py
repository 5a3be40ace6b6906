"""Clerk: everything periodic.

Each janitor is one small idempotent function under its own lock, so any number of clerks may run.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias
from uuid import UUID

import msgspec
import structlog

from billing.charges.months import add_months
from billing.charges.rollup import roll_up
from billing.errors import BillingError, BooksDiffer
from billing.invoices.close import close_due
from billing.invoices.sales import invoice_sales
from billing.kit.batch import TRANSIENT
from billing.kit.loops import run_until
from billing.kit.pool import APP_ROLE, open_pool
from billing.kit.query import Conn, Pool
from billing.ledger.chain import seal
from billing.plans.alerts import check_budgets, check_wallets
from billing.plans.budgets import open_budget_days
from billing.plans.renew import expire_grants, renew_due
from billing.shares.views import close_due_pool
from billing.stripe.collect import collect_due
from billing.stripe.desk import Desk, open_desk
from billing.stripe.recharge import note_recharges
from billing.stripe.reconcile import reconcile_days
from gateway.announce import Announcer
from gateway.courier import Courier
from gateway.egress.addresses import networks
from gateway.egress.guard import Egress
from gateway.fleet.offers import load_sellers
from gateway.jobs.janitors import (
    count_live,
    expire_queued,
    expired_assets,
    forget_answers,
    forget_assets,
    forget_prompts,
    rescue_lost_leases,
    without_jobs,
)
from gateway.jobs.late.credit import credit_late_starts
from gateway.jobs.model import JobRef, cost_micro_usd
from gateway.media.errors import StoreError
from gateway.media.keys import PENDING, job_prefix, pending_key
from gateway.media.signing import LinkSigner
from gateway.media.store import MediaStore, open_store
from gateway.people.forget import forget_sign_ins
from gateway.quotas.alerts import tell_reached
from gateway.quotas.forget import forget_counters
from gateway.requests.read import forget_requests
from gateway.settings import Settings
from gateway.telemetry import metrics
from gateway.webhooks.deliveries import forget_deliveries
from gateway.webhooks.post import post_events
from gateway.webhooks.sign import Secrets

log = structlog.get_logger(__name__)

_UNDECIDED_S = 3600
"""A request whose inputs were stored this long ago has been answered, or its process has ended. Ids carry their time."""

Round: TypeAlias = Callable[[Pool], Awaitable[int]]


class Janitor(msgspec.Struct, frozen=True):
    """`work` runs every `every_s` seconds and returns how much it did; again at once while it finds any."""

    name: str
    every_s: float
    work: Round


async def clerk(settings: Settings, stop: asyncio.Event) -> None:
    """Runs every janitor until `stop` is set. Raises SettingsError for missing settings."""
    settings.require("dsn")
    async with await open_pool(
        settings.dsn.reveal(), name="tallylight-clerk", role=APP_ROLE, size_min=1, size_max=settings.pool_max
    ) as pool:
        key, sellers = settings.stripe_api_key.reveal(), load_sellers(settings.catalogue_dir)
        async with open_desk(pool, sellers, key, settings.stripe_url) as desk, AsyncExitStack() as stack:
            loops = [_rounds(pool, janitor) for janitor in janitors(settings, open_store(settings), desk)]
            if settings.webhook_secret:
                loops.append((await stack.enter_async_context(_courier(settings, pool))).run())
            await run_until(stop, *loops)


@asynccontextmanager
async def _courier(settings: Settings, pool: Pool) -> AsyncGenerator[Courier]:
    """What brings webhooks to their receivers."""
    signer = LinkSigner({"1": settings.link_secret.reveal().encode()}, "1")
    egress = Egress(allowed=networks(settings.egress_networks))
    try:
        secrets = Secrets(settings.webhook_secret.reveal())
        yield Courier(pool, egress, secrets, Announcer(settings, pool, signer).body, poll_s=settings.poll_s)
    finally:
        await egress.close()


def janitors(settings: Settings, store: MediaStore, desk: Desk | None = None) -> list[Janitor]:
    """Everything periodic, in one list."""

    async def rescue(conn: Conn) -> int:
        lost = await rescue_lost_leases(conn, attempts_max=settings.attempts_max)
        for one in lost:
            cost_micro = cost_micro_usd(one.device_ms, one.price_micro_usd_per_hour)
            metrics.attempt_cost_micro_usd(one.accelerator, one.model, "lost").inc(cost_micro)
            metrics.device_seconds(one.accelerator, one.model, "lost").inc(one.device_ms / 1000)
        return len(lost)

    async def credit(conn: Conn) -> int:
        return await credit_late_starts(conn, percent=settings.late_start_credit_percent)

    async def remove_assets(pool: Pool) -> int:
        """Deleting is idempotent and may take long: it needs no lock and holds no transaction open."""
        async with pool.acquire(timeout=5) as conn:
            due = await expired_assets(conn)
        for job in due:
            try:
                await store.delete_prefix(job_prefix(job.org_id.hex, job.id.hex))
            except StoreError as error:
                log.warning("assets_kept", job_id=str(job.id), code=error.code)
                return 0
            async with pool.acquire(timeout=5) as conn:
                await forget_assets(conn, job)
        return len(due)

    async def remove_orphans(pool: Pool) -> int:
        """Inputs of requests whose process ended before it was decided whether they become jobs."""
        try:
            noted = [_noted(key) for key in await store.keys(PENDING)]
            decided = [one for one in noted if time.time() - (one.id.int >> 80) / 1000 > _UNDECIDED_S]
            async with pool.acquire(timeout=5) as conn:
                orphans = await without_jobs(conn, decided)
            for one in orphans:
                await store.delete_prefix(job_prefix(one.org_id.hex, one.id.hex))
            for one in decided:
                await store.delete(pending_key(one.org_id.hex, one.id.hex))
        except StoreError as error:
            log.warning("orphans_kept", code=error.code)
            return 0
        return len(orphans)

    async def gauge(conn: Conn) -> int:
        for state, count in (await count_live(conn)).items():
            metrics.jobs(state).set(count)
        return 0

    return [
        _alone("rescue_lost_leases", settings.poll_s, rescue),
        _alone("expire_queued", 5.0, expire_queued),
        _alone("credit_late_starts", 5.0, credit),
        Janitor("remove_expired_assets", 10.0, remove_assets),
        Janitor("remove_orphaned_inputs", 600.0, remove_orphans),
        _alone("forget_old_answers", 600.0, forget_answers),
        _alone("forget_prompts", 15.0, forget_prompts),
        _alone("forget_requests", 60.0, forget_requests),
        _alone("forget_sign_ins", 600.0, forget_sign_ins),
        _alone("count_jobs", 5.0, gauge),
        _alone("tell_reached_quotas", 5.0, tell_reached),
        _alone("forget_quota_counters", 60.0, forget_counters),
        *_money(settings),
        *([_alone("post_webhooks", settings.poll_s, post_events)] if settings.webhook_secret else []),
        _alone("forget_deliveries", 600.0, forget_deliveries),
        *(_payments(desk) if desk else ()),
    ]


def _money(settings: Settings) -> list[Janitor]:
    """What is periodic in the money plane."""
    sellers = load_sellers(settings.catalogue_dir)

    async def renew(conn: Conn) -> int:
        return await renew_due(conn, sellers)

    async def close(conn: Conn) -> int:
        outcomes = await close_due(conn, sellers)
        for outcome in outcomes:
            if isinstance(outcome, BooksDiffer):
                log.error("contract_not_closed", detail=outcome.detail)
        return sum(not isinstance(outcome, BooksDiffer) for outcome in outcomes)

    async def invoice(conn: Conn) -> int:
        return await invoice_sales(conn, sellers)

    return [
        _alone("renew_plans", 15.0, renew),
        _alone("open_budget_days", 15.0, open_budget_days),
        _alone("invoice_sales", 15.0, invoice),
        _alone("close_contracts", 60.0, close),
        _alone("expire_grants", 60.0, expire_grants),
        _alone("check_budgets", 60.0, check_budgets),
        _alone("check_wallets", 60.0, check_wallets),
        _alone("share_pools", 60.0, close_due_pool),
        _alone("seal_ledger", 10.0, seal),
        _alone("roll_up_usage", 5.0, roll_up),
        _alone("add_usage_months", 3600.0, add_months),
    ]


def _payments(desk: Desk) -> list[Janitor]:
    """What is periodic with Stripe. Who asks it takes a lease of each row for it, so that no lock is held over a question."""

    def asking(work: Callable[[], Awaitable[int]]) -> Round:
        async def once(_: Pool) -> int:
            try:
                return await work()
            except BillingError as error:
                log.warning("stripe_not_asked", error=str(error))
                return 0

        return once

    async def reconcile(conn: Conn) -> int:
        """In one snapshot: what is booked in between would be a difference."""
        for one in await reconcile_days(conn):
            reasons = {difference.reason: difference.count for difference in one.raised}
            log.error("day_not_reconciled", day=str(one.day), reasons=reasons)
        return 0

    return [
        _alone("reconcile_days", 3600.0, reconcile, snapshot=True),
        Janitor("work_stripe_events", 1.0, asking(desk.work_events)),
        Janitor("poll_payments", 5.0, asking(desk.poll)),
        Janitor("read_stripe_account", 300.0, asking(desk.read_account)),
        Janitor("pay_payees", 30.0, asking(desk.paymaster.pay)),
        _alone("recharge_wallets", 5.0, note_recharges),
        _alone("collect_invoices", 60.0, collect_due),
    ]


def _noted(key: str) -> JobRef:
    _, org, job = key.split("/")
    return JobRef(UUID(hex=org), UUID(hex=job))


def _alone(name: str, every_s: float, work: Callable[[Conn], Awaitable[int]], *, snapshot: bool = False) -> Janitor:
    """`work` in a transaction of its own, unless another clerk is at it. `snapshot`: on one unchanging view of the database."""

    async def once(pool: Pool) -> int:
        isolation = "repeatable_read" if snapshot else None
        async with pool.acquire(timeout=5) as conn, conn.transaction(isolation=isolation):
            if not await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('clerk/' || $1::text, 0))", name):
                return 0
            return await work(conn)

    return Janitor(name, every_s, once)


async def _rounds(pool: Pool, janitor: Janitor) -> None:
    while True:
        try:
            while done := await janitor.work(pool):
                log.info("janitor_worked", janitor=janitor.name, rows=done)
        except TRANSIENT as error:
            log.warning("janitor_failed", janitor=janitor.name, error=type(error).__name__)
        await asyncio.sleep(janitor.every_s)
