"""A shop over the real ledger: what it offers, its customers, and every verb in a transaction of its own."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from billing.charges.hold import hold
from billing.charges.model import ChargeRequest, Delivery, Facts, Refund, Settled
from billing.charges.refund import refund
from billing.charges.settle import settle
from billing.customers.model import BillingDetails
from billing.customers.register import open_customer
from billing.errors import BillingError
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.model import SECONDS, Finding, Held
from billing.ledger.verify import verify
from billing.ledger.wallets import open_wallet, top_up
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.sellers import Sellers, read_sellers
from billing.pricing.model import Terms
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
        for asset in ("CNY", f"{SECONDS}standard"):
            await self.does(open_wallet, customer_id, "live", asset)
        if topped_up:
            await self.tops_up(customer_id, topped_up)
        return customer_id

    async def tops_up(self, customer_id: UUID, amount_micro: int) -> None:
        await self.does(top_up, source=str(new_id()), customer_id=customer_id, asset="CNY", amount_micro=amount_micro)

    async def holds(self, customer_id: UUID, duration_ms: int, *, rate_micro: int = RATE) -> UUID | BillingError:
        """Orders a job of that length at most."""
        request = ChargeRequest(id=new_id(), customer_id=customer_id, book="live", terms=terms(rate_micro), quantity=duration_ms)
        (held,) = await self.does(hold, [request])
        return request.id if isinstance(held, Held) else held

    async def settles(self, customer_id: UUID, job: UUID, duration_ms: int, *, rate_micro: int = RATE) -> Settled:
        """The job has delivered that much."""
        delivery = Delivery(
            id=job, customer_id=customer_id, book="live", terms=terms(rate_micro), requested=duration_ms, delivered=duration_ms,
            facts=facts(customer_id),
        )  # fmt: skip
        (settled,) = await self.does(settle, [delivery])
        assert not isinstance(settled, BillingError), settled
        return settled

    async def makes(self, customer_id: UUID, duration_ms: int, *, rate_micro: int = RATE) -> Settled:
        """A job from order to settlement."""
        job = await self.holds(customer_id, duration_ms, rate_micro=rate_micro)
        assert isinstance(job, UUID), job
        return await self.settles(customer_id, job, duration_ms, rate_micro=rate_micro)

    async def gives_back(self, job: UUID, amount_micro: int) -> None:
        (given,) = await self.does(refund, [Refund(id=job, reason="late failure", amount_micro=amount_micro)])
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


def terms(rate_micro: int = RATE) -> Terms:
    return Terms(rate_card_id=UUID(int=9), currency="CNY", price_micro=rate_micro, seconds_class="standard")


def facts(customer_id: UUID) -> Facts:
    return Facts(
        project_id=customer_id, key_id=customer_id, model="testcard", task="t2v", resolution="1080p", tier="standard", attempts=()
    )  # fmt: skip


@asynccontextmanager
async def open_shop(conn: Conn) -> AsyncGenerator[Shop]:
    """Whatever a test did through the verbs, the ledger is sound when it ends."""
    shop = Shop(conn)
    await shop.does(publish_catalogue, CATALOGUE)
    yield shop
    assert await shop.findings() == []
