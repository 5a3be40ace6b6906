"""Every posting rule, and exactly the entries it writes."""

import re
from collections.abc import Mapping
from uuid import UUID

import pytest

from billing.kit.query import Conn
from billing.ledger.model import (
    Book,
    credit_account_id,
    grant_account_id,
    paid_account_id,
    payable_account_id,
    wallet_id,
)
from billing.ledger.post import Posting, post_all
from billing.ledger.rules import KINDS, RULES

CUSTOMER = UUID(int=7)
WALLET, SECONDS_WALLET = wallet_id(CUSTOMER, "live", "CNY"), wallet_id(CUSTOMER, "live", "SEC:h100")
ROLES = {
    "wallet": paid_account_id(WALLET),
    "credit": credit_account_id(WALLET),
    "grant": grant_account_id(WALLET, "promo", "g"),
    "from": grant_account_id(SECONDS_WALLET, "subscription", "f"),
    "payee": payable_account_id(WALLET),
}
DIMENSIONS = {
    "customer": "acme", "pool": "h100", "model": "testcard", "outcome": "failed",
    "network": "kads", "income": "ad",
}  # fmt: skip
SALE = {"amount": 8000, "basis": 90, "tax": 6, "total": 96}
SOLD = [("liability:deferred:live:CNY:{grant}", 90), ("liability:tax:live:CNY", 6), ("units:issued:live:SEC:h100", -8000), ("{grant}", 8000)]  # fmt: skip
BACK = {"amount": 8000, "earned": 91, "tax": 6, "total": 90, "credited": 6, "rounding": 1}
TAKEN = [("{grant}", -8000), ("units:issued:live:SEC:h100", 8000), ("liability:deferred:live:CNY:{grant}", -91), ("liability:tax:live:CNY", -6)]  # fmt: skip
INVOICE = {"total": 1061, "usage": 900, "shortfall": 100, "tax": 60, "rounding": 1}
TEN = {"amount": 10}
POSTED: dict[str, tuple[Mapping[str, int], list[tuple[str, int]], int]] = {
    # event: amounts, entries, how far the floor of {credit} rises
    "top_up": (TEN, [("asset:clearing:live:CNY", -10), ("{wallet}", 10)], 0),
    "voucher": (TEN, [("asset:clearing:live:CNY", -10), ("{grant}", 10)], 0),
    "promo": (TEN, [("memo:promo_issued:live:CNY", -10), ("{grant}", 10)], 0),
    "sla": (TEN, [("contra:sla:live:CNY", -10), ("{grant}", 10)], 0),
    "budget": (TEN, [("memo:budget_issued:live:CNY", -10), ("{grant}", 10)], 0),
    "pack": (SALE, [("asset:clearing:live:CNY", -96), *SOLD], 0),
    "pack_from_wallet": (SALE, [("{wallet}", -96), *SOLD], 0),
    "pack_on_account": (SALE, [("asset:receivable:live:CNY:acme", -96), *SOLD], 96),
    "subscription": (SALE, [("asset:clearing:live:CNY", -96), *SOLD], 0),
    "subscription_from_wallet": (SALE, [("{wallet}", -96), *SOLD], 0),
    "subscription_on_account": (SALE, [("asset:receivable:live:CNY:acme", -96), *SOLD], 96),
    "allowance": ({"amount": 8000}, [("units:issued:live:SEC:h100", -8000), ("{grant}", 8000)], 0),
    "rollover": (
        {"amount": 3000, "basis": 30},
        [("{from}", -3000), ("{grant}", 3000), ("liability:deferred:live:CNY:{from}", -30), ("liability:deferred:live:CNY:{grant}", 30)],
        0,
    ),
    "expire_paid": (TEN, [("{grant}", -10), ("revenue:breakage:live:CNY", 10)], 0),
    "expire_promo": (TEN, [("{grant}", -10), ("memo:promo_issued:live:CNY", 10)], 0),
    "expire_budget": (TEN, [("{grant}", -10), ("memo:budget_issued:live:CNY", 10)], 0),
    "expire_pack": (
        {"amount": 500, "earned": 5},
        [("{grant}", -500), ("units:expired:live:SEC:h100", 500), ("liability:deferred:live:CNY:{grant}", -5), ("revenue:breakage:live:CNY", 5)],
        0,
    ),
    "expire_subscription": (
        {"amount": 500, "earned": 5},
        [("{grant}", -500), ("units:expired:live:SEC:h100", 500), ("liability:deferred:live:CNY:{grant}", -5), ("revenue:subscription:live:CNY", 5)],
        0,
    ),
    "expire_allowance": ({"amount": 500}, [("{grant}", -500), ("units:expired:live:SEC:h100", 500)], 0),
    "cash_refund": (TEN, [("{wallet}", -10), ("liability:refund_transit:live:CNY", 10)], 0),
    "cash_refund_paid": (TEN, [("liability:refund_transit:live:CNY", -10), ("asset:clearing:live:CNY", 10)], 0),
    "cash_refund_failed": (TEN, [("liability:refund_transit:live:CNY", -10), ("{wallet}", 10)], 0),
    "cash_taken": (TEN, [("{wallet}", -10), ("asset:clearing:live:CNY", 10)], 0),
    "cash_returned": (TEN, [("asset:clearing:live:CNY", -10), ("{wallet}", 10)], 0),
    "seconds_return_to_wallet": (BACK, [*TAKEN, ("{wallet}", 90), ("contra:refunds:live:CNY", 6), ("expense:rounding:live:CNY", 1)], 0),
    "seconds_return_on_account": (
        BACK, [*TAKEN, ("asset:receivable:live:CNY:acme", 90), ("contra:refunds:live:CNY", 6), ("expense:rounding:live:CNY", 1)], -90,
    ),
    "credit_limit": ({"change": 500}, [], -500),
    "close": (
        INVOICE,
        [("asset:receivable:live:CNY:acme", -1061), ("{credit}", 900), ("revenue:usage:live:CNY", 100), ("liability:tax:live:CNY", 60), ("expense:rounding:live:CNY", 1)],
        1061,
    ),
    "payment": (TEN, [("asset:clearing:live:CNY", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "payment_from_wallet": (TEN, [("{wallet}", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "payment_refund": (TEN, [("asset:receivable:live:CNY:acme", -10), ("liability:refund_transit:live:CNY", 10)], 10),
    "payment_refund_failed": (TEN, [("liability:refund_transit:live:CNY", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "payment_taken": (TEN, [("asset:receivable:live:CNY:acme", -10), ("asset:clearing:live:CNY", 10)], 10),
    "payment_returned": (TEN, [("asset:clearing:live:CNY", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "stripe_fee": (TEN, [("expense:stripe_fee:live:CNY", -10), ("asset:clearing:live:CNY", 10)], 0),
    "exchange": (
        {"amount": 10, "got": 70},
        [("memo:exchange:live:CNY", -10), ("asset:clearing:live:CNY", 10), ("asset:clearing:live:SEC:h100", -70), ("memo:exchange:live:SEC:h100", 70)],
        0,
    ),
    "bank_payout": (TEN, [("asset:bank:live:CNY", -10), ("asset:clearing:live:CNY", 10)], 0),
    "credit_note": (
        {"net": 10, "tax": 1, "total": 11},
        [("contra:refunds:live:CNY", -10), ("liability:tax:live:CNY", -1), ("asset:receivable:live:CNY:acme", 11)],
        -11,
    ),
    "sla_note": (
        {"net": 10, "tax": 1, "total": 11},
        [("contra:sla:live:CNY", -10), ("liability:tax:live:CNY", -1), ("asset:receivable:live:CNY:acme", 11)],
        -11,
    ),
    "write_off": (TEN, [("expense:bad_debt:live:CNY", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "bank_payment": (TEN, [("asset:bank:live:CNY", -10), ("asset:receivable:live:CNY:acme", 10)], -10),
    "bank_top_up": (TEN, [("asset:bank:live:CNY", -10), ("{wallet}", 10)], 0),
    "cost": (TEN, [("expense:cogs:live:CNY:h100:testcard:failed", -10), ("liability:gpu_accrued:live:CNY:h100", 10)], 0),
    "cost_true_up": ({"amount": -3}, [("expense:cogs:live:CNY:h100:testcard:failed", 3), ("liability:gpu_accrued:live:CNY:h100", -3)], 0),
    "cost_paid": (TEN, [("liability:gpu_accrued:live:CNY:h100", -10), ("asset:bank:live:CNY", 10)], 0),
    "income": (TEN, [("asset:income_receivable:live:CNY:kads", -10), ("liability:to_share:live:CNY", 10)], 0),
    "income_back": (TEN, [("liability:to_share:live:CNY", -10), ("asset:income_receivable:live:CNY:kads", 10)], 0),
    "income_settled": (TEN, [("asset:bank:live:CNY", -10), ("asset:income_receivable:live:CNY:kads", 10)], 0),
    "share": (TEN, [("liability:to_share:live:CNY", -10), ("{payee}", 10)], 0),
    "share_back": (TEN, [("{payee}", -10), ("liability:to_share:live:CNY", 10)], 0),
    "share_kept": (TEN, [("liability:to_share:live:CNY", -10), ("revenue:shared:live:CNY:ad", 10)], 0),
    "share_kept_back": (TEN, [("revenue:shared:live:CNY:ad", -10), ("liability:to_share:live:CNY", 10)], 0),
    "pool_share": (TEN, [("expense:pool_share:live:CNY:h100", -10), ("{payee}", 10)], 0),
    "pool_share_back": (TEN, [("{payee}", -10), ("expense:pool_share:live:CNY:h100", 10)], 0),
    "payout": (TEN, [("{payee}", -10), ("liability:payout_transit:live:CNY", 10)], 0),
    "payout_paid": (TEN, [("liability:payout_transit:live:CNY", -10), ("asset:clearing:live:CNY", 10)], 0),
    "payout_failed": (TEN, [("liability:payout_transit:live:CNY", -10), ("{payee}", 10)], 0),
    "payout_reversed": (TEN, [("asset:clearing:live:CNY", -10), ("{payee}", 10)], 0),
}  # fmt: skip


@pytest.fixture
async def funded(database: Conn) -> Conn:
    """Accounts for every role, with enough in each that no event is refused."""
    await open_roles(database, "live")
    return database


async def open_roles(conn: Conn, book: Book) -> None:
    await conn.execute("INSERT INTO billing.asset VALUES ('SEC:h100', 3)")
    for wallet, asset in ((WALLET, "CNY"), (SECONDS_WALLET, "SEC:h100")):
        await conn.execute(
            "INSERT INTO billing.wallet (id, customer_id, book, asset) VALUES ($1, $2, $3, $4)", wallet, CUSTOMER, book, asset
        )
    for role, account in ROLES.items():
        wallet, asset = (SECONDS_WALLET, "SEC:h100") if role == "from" else (WALLET, "CNY")
        await conn.execute("INSERT INTO billing.account VALUES ($1, $2, $3, $4, $5)", account, f"{{{role}}}", asset, book, wallet)
        await conn.execute(
            "INSERT INTO billing.grant (account_id, wallet_id, kind, source) VALUES ($1, $2, 'paid', 'x')", account, wallet
        )
        await conn.execute("INSERT INTO billing.balance VALUES ($1, $2, 100000, 0, -5000)", account, wallet)


def posting(kind: str, amounts: Mapping[str, int], source: str = "s") -> Posting:
    return Posting(
        kind=kind, source=source, subject_id=CUSTOMER, book="live", asset="CNY", units="SEC:h100", amounts=amounts,
        accounts=ROLES, dimensions=DIMENSIONS,
    )  # fmt: skip


async def entries(conn: Conn, transfer_id: UUID) -> list[tuple[str, int]]:
    rows = await conn.fetch(
        "SELECT a.path, e.amount FROM billing.entry e JOIN billing.account a ON a.id = e.account_id"
        " WHERE e.transfer_id = $1 ORDER BY e.leg",
        transfer_id,
    )
    named = {str(account): f"{{{role}}}" for role, account in ROLES.items()}
    return [(re.sub("|".join(named), lambda found: named[found[0]], row["path"]), row["amount"]) for row in rows]


async def test_the_table_knows_every_kind(database: Conn) -> None:
    definition = await database.fetchval("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'transfer_kind'")
    assert set(re.findall(r"'(\w+)'", str(definition))) == KINDS


@pytest.mark.parametrize("kind", RULES)
async def test_an_event_writes_exactly_these_entries(funded: Conn, kind: str) -> None:
    amounts, expected, rise = POSTED[kind]
    async with funded.transaction():
        (transfer,) = await post_all(funded, [posting(kind, amounts)])
    assert await entries(funded, transfer) == expected
    rows = await funded.fetch("SELECT account_id, posted, floor FROM billing.balance")
    moved = {row["account_id"]: (row["posted"] - 100000, row["floor"] + 5000) for row in rows}
    for role, account in ROLES.items():
        own = sum(amount for path, amount in expected if path == f"{{{role}}}")
        assert moved[account] == (own, rise if role == "credit" else 0)
