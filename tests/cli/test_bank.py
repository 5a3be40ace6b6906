"""Wires, write-offs and suppliers' bills from the command line, and where they are seen afterwards."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from click.testing import CliRunner, Result

from billing.charges.accrue import accrue
from billing.charges.model import Attempt, Delivery
from billing.invoices.sales import invoice_sales
from billing.kit.ids import new_id
from billing.kit.query import Conn
from billing.ledger.wallets import set_credit_limit
from billing.plans.catalogue import publish_catalogue, read_catalogue
from billing.plans.sell import buy_pack
from billing.plans.subscribe import subscribe
from gateway.cli import tallylight as program
from gateway.fleet.offers import load_sellers
from tests.billing.conftest import Clock
from tests.billing.invoices.test_close import CONTRACT
from tests.billing.plans.shop import CATALOGUE, Shop, facts, terms


async def owing(conn: Conn, org: UUID) -> None:
    """A pack on account for 900.00, a job for 1.60 under a contract, and an attempt of January that was accrued at $4."""
    sellers, shop = load_sellers(""), Shop(conn)
    await shop.does(
        publish_catalogue,
        type(CATALOGUE)((*CATALOGUE.plans, *read_catalogue(CONTRACT).plans), CATALOGUE.packs, CATALOGUE.budgets),
    )
    await shop.sells(subscribe, customer_id=org, plan="lite", source="s")
    await shop.makes(org, 1_000)
    async with conn.transaction():
        await set_credit_limit(conn, source="l", customer_id=org, book="live", asset="CNY", limit_micro=10**10)
        await buy_pack(conn, sellers, customer_id=org, pack="pack-1000", source="p", payer="account")
        await invoice_sales(conn, sellers)
    attempt = Attempt(number=1, pool="h100", chip="H100", outcome="succeeded", run_ms=1, cost_micro=4_000_000)
    job = Delivery(
        id=new_id(), customer_id=org, book="live", terms=terms(), requested=1, delivered=1,
        facts=msgspec.structs.replace(facts(org), attempts=(attempt,)),
    )  # fmt: skip
    async with conn.transaction():
        await accrue(conn, [job])


async def test_finance_books_what_the_bank_and_the_supplier_say(dsn: str, database: Conn) -> None:
    async def tallylight(*argv: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, program, argv, env={"TALLYLIGHT_DSN": dsn})

    org: dict[str, Any] = json.loads((await tallylight("orgs", "create", "acme", "--json")).stdout)[0]
    clock = Clock(database)
    await clock.install()
    await owing(database, UUID(org["id"]))
    at = await clock.set(datetime(2026, 2, 2, 12, tzinfo=UTC))
    assert (await tallylight("invoices", "close")).exit_code == 0
    used, invoice = json.loads((await tallylight("invoices", "list", "--org", "acme", "--json")).stdout)
    behind = await tallylight("invoices", "jobs", "--org", "acme", used["id"])
    assert "job_" in behind.stdout and "¥1.60" in behind.stdout
    (job,) = json.loads((await tallylight("invoices", "jobs", "--org", "acme", used["id"], "--json")).stdout)
    assert (job["line"], job["charged_micro"], job["refunded_micro"]) == (1, 1_600_000, 0)
    assert invoice["left_minor"] == invoice["total_minor"] == 900_00

    wire = ("bank", "receive", "--org", "acme", invoice["id"], "--reference", "ICBC-7", "--currency")
    refused = await tallylight(*wire, "USD", "--amount", "500")
    assert refused.exit_code == 1 and "is in CNY, the wire in USD" in refused.stderr
    assert (await tallylight(*wire, "CNY", "--amount", "0.001")).exit_code == 2
    for _ in range(2):  # once for each reference
        assert "¥500.00" in (await tallylight(*wire, "CNY", "--amount", "500")).stdout
    given_up = await tallylight(
        "bank", "write-off", "--org", "acme", invoice["id"], "--reason", "insolvent", "--reference", "D1", "--json"
    )
    (written_off,) = json.loads(given_up.stdout)
    assert written_off["amount_minor"] == 400_00
    assert "¥0.00" in (await tallylight("invoices", "list", "--org", "acme")).stdout
    undo = ("bank", "undo", "--org", "acme", written_off["id"], "--reason", "they pay after all")
    assert "undone: they pay after all" in (await tallylight(*undo)).stdout
    by_hand = await tallylight("ledger", "reverse", written_off["id"], "--reason", "x")
    assert by_hand.exit_code == 1
    assert "¥400.00" in (await tallylight("invoices", "list", "--org", "acme")).stdout
    listed = json.loads((await tallylight("bank", "list", "--org", "acme", "--json")).stdout)
    assert sorted(one["reference"] for one in listed) == ["D1", "ICBC-7"]

    bill = ("bank", "bill", "h100", "--month", "2026-01", "--currency", "USD", "--reference", "B1", "--amount")
    for _ in range(2):
        assert "$1.50" in (await tallylight(*bill, "5.50")).stdout
    later = await tallylight(
        "bank", "bill", "h100", "--month", "2026-02", "--currency", "USD", "--reference", "B", "--amount", "1"
    )
    assert later.exit_code == 1 and "2026-02 is not over" in later.stderr
    assert "B1" in (await tallylight("bank", "bills")).stdout
    margin = await tallylight("margin", "--month", "2026-01")
    assert "the supplier billed $1.50 more" in margin.stdout
    found = await tallylight("reconcile", "--date", f"{at:%Y-%m-%d}")
    assert "by wire ¥500.00, in 1 wires" in found.stdout
    trail = (await tallylight("audit", "list", "--org", "acme")).stdout
    assert all(name in trail for name in ("bank.receive", "bank.write_off", "bank.undo"))
    assert await Shop(database).findings() == []
