"""A shop over the real ledger: what it offers, its customers, and every verb in a transaction of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from billing.charges.model import Series, Usage
from billing.charges.record import record
from billing.customers.model import BillingDetails
from billing.customers.register import open_customer
from billing.errors import BillingError
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.capture import capture
from billing.ledger.hold import hold
from billing.ledger.model import SECONDS, CaptureRequest, Finding, Held, HoldRequest, RefundRequest, Seconds, wallet_id
from billing.ledger.refund import refund
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, top_up
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.sellers import Sellers, read_sellers
from tests.tidy.checks import ROOT

Result = TypeVar("Result")
YUAN = 1_000_000
RATE = 1_600_000
"""What a second costs that no prepaid one covers."""
CATALOGUE = read_catalogue((ROOT / "deploy" / "catalogue" / "plans.toml").read_text())
SELLERS = """
    [[sellers]]
    code = "cn"
    prefix = "TLCN"
    legal_name = "上海闪光影像有限公司"
    address = "上海市徐汇区漕溪北路 1 号"
    country = "CN"
    tax_id = "91310104MA1FR00000"
    time_zone = "Asia/Shanghai"
    currencies = ["CNY"]
    [sellers.tax]
    rule = "vat"
    rates_bp = { CN = 600 }
"""
"""Tax of 6 % on top of prices."""


def sellers(*, inclusive: bool = False) -> Sellers:
    return read_sellers(SELLERS + ("    inclusive = true\n" if inclusive else ""))


class Shop:
    def __init__(self, conn: Conn) -> None:
        self.conn, self.sellers = conn, sellers()

    async def does(self, work: Callable[..., Awaitable[Result]], *args: Any, **named: Any) -> Result:
        """Runs a verb in one transaction: all of it, or nothing."""
        async with self.conn.transaction():
            return await work(self.conn, *args, **named)

    async def sells(self, work: Callable[..., Awaitable[Result]], *args: Any, **named: Any) -> Result:
        return await self.does(work, self.sellers, *args, **named)

    async def opens(self, customer_id: UUID, *, time_zone: str = "Asia/Shanghai", topped_up: int = 0, **details: str) -> UUID:
        named = msgspec.convert({"legal_name": "光影工作室", "country": "CN", **details}, BillingDetails)
        await self.does(open_customer, customer_id, "CNY", time_zone, named)
        await self.does(open_wallet, customer_id, "live", "CNY")
        if topped_up:
            await self.tops_up(customer_id, topped_up)
        return customer_id

    async def tops_up(self, customer_id: UUID, amount_micro: int) -> None:
        await self.does(top_up, source=str(new_id()), customer_id=customer_id, asset="CNY", amount_micro=amount_micro)

    async def holds(self, customer_id: UUID, duration_ms: int, *, rate_micro: int = RATE) -> UUID | BillingError:
        """Holds what a job of that length costs at most: seconds before money."""
        await self.does(open_wallet, customer_id, "live", f"{SECONDS}standard")
        seconds = Seconds(wallet_id(customer_id, "live", f"{SECONDS}standard"), duration_ms, rate_micro)
        cost = duration_ms * rate_micro // 1000
        request = HoldRequest(new_id(), wallet_id(customer_id, "live", "CNY"), cost, seconds)
        (held,) = await self.does(hold, [request])
        return request.id if isinstance(held, Held) else held

    async def settles(self, customer_id: UUID, job: UUID, duration_ms: int, *, rate_micro: int = RATE) -> Usage:
        """Captures what was delivered and records its usage, as charges do."""
        async with self.conn.transaction():
            held = await self.conn.fetch(
                "SELECT a.asset, h.amount FROM billing.hold h JOIN billing.account a ON a.id = h.account_id WHERE h.id = $1", job
            )
            seconds_ms = min(duration_ms, sum(row["amount"] for row in held if row["asset"].startswith(SECONDS)))
            amount = (duration_ms - seconds_ms) * rate_micro // 1000
            (captured,) = await capture(self.conn, [CaptureRequest(job, seconds_ms, amount)])
            assert not isinstance(captured, BillingError), captured
            usage = Usage(
                subject_id=job, series=series(customer_id), gross_micro=duration_ms * rate_micro // 1000,
                granted_micro=captured.promo_micro, net_micro=amount - captured.promo_micro, billed_ms=duration_ms,
                delivered_ms=duration_ms, requested_ms=duration_ms, seconds_ms=seconds_ms,
            )  # fmt: skip
            await record(self.conn, [usage])
            return usage

    async def makes(self, customer_id: UUID, duration_ms: int, *, rate_micro: int = RATE) -> Usage:
        """A job from order to settlement."""
        job = await self.holds(customer_id, duration_ms, rate_micro=rate_micro)
        assert isinstance(job, UUID), job
        return await self.settles(customer_id, job, duration_ms, rate_micro=rate_micro)

    async def gives_back(self, job: UUID, amount_micro: int) -> None:
        (given,) = await self.does(refund, [RefundRequest(job, 0, amount_micro, "late failure")])
        assert not isinstance(given, BillingError), given

    async def balances(self, customer_id: UUID) -> dict[str, int]:
        """What is posted per kind of grant: money in micro-units, seconds in ms."""
        rows = await self.conn.fetch(
            "SELECT g.kind, sum(b.posted)::bigint AS posted FROM billing.wallet w JOIN billing.grant g ON g.wallet_id = w.id"
            " JOIN billing.balance b ON b.account_id = g.account_id WHERE w.customer_id = $1 GROUP BY g.kind",
            customer_id,
        )
        return {row["kind"]: row["posted"] for row in rows if row["posted"]}

    async def books(self) -> dict[str, int]:
        """Every account of ours, dimensions and what is zero left out."""
        rows = await self.conn.fetch(
            "SELECT split_part(a.path, ':', 1) || ':' || split_part(a.path, ':', 2) AS name, sum(e.amount)::bigint AS amount"
            " FROM billing.entry e JOIN billing.account a ON a.id = e.account_id WHERE a.wallet_id IS NULL GROUP BY 1"
        )
        return {row["name"]: row["amount"] for row in rows if row["amount"]}

    async def findings(self) -> list[Finding]:
        async with self.conn.transaction(isolation="repeatable_read"):
            return await verify(self.conn)


def series(customer_id: UUID) -> Series:
    return Series(
        kind="charge", customer_id=customer_id, project_id=customer_id, key_id=customer_id, rate_card_id=customer_id, book="live",
        currency="CNY", cost_currency="USD", model="testcard", task="t2v", resolution="1080p", tier="standard", chip="cpu",
        outcome="succeeded", labels={},
    )  # fmt: skip


@asynccontextmanager
async def open_shop(conn: Conn) -> AsyncIterator[Shop]:
    """Whatever a test did through the verbs, the ledger is sound when it ends."""
    shop = Shop(conn)
    await shop.does(publish_catalogue, CATALOGUE)
    yield shop
    assert await shop.findings() == []
