"""Payments and the day's reconciliation from the command line."""

import asyncio
import json
from datetime import UTC, datetime
from subprocess import CompletedProcess
from typing import Any
from uuid import UUID

import pytest

from billing.kit.query import Pool
from billing.stripe.client import open_stripe
from billing.stripe.desk import Desk
from billing.stripe.model import Order
from gateway.fleet.offers import load_sellers
from tests.cli.test_commands import run
from tests.stripe.control import Control
from tests.stripe.fixtures import control, stripe_server
from tests.stripe.server.server import Server

__all__ = ["control", "stripe_server"]
KEY = "sk_test_offline"


async def test_a_payment_is_listed_paid_back_and_reconciled(
    dsn: str, pool: Pool, stripe_server: Server, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYLIGHT_STRIPE_API_KEY", KEY)
    monkeypatch.setenv("TALLYLIGHT_STRIPE_URL", stripe_server.url)

    async def tallylight(*argv: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(run, *argv, dsn=dsn)

    org: dict[str, Any] = json.loads((await tallylight("orgs", "create", "acme", "--json")).stdout)[0]
    async with open_stripe(KEY, stripe_server.url) as stripe:
        await control.tell("clock", to=int(datetime.now(UTC).timestamp()))
        desk = Desk(pool, stripe, load_sellers(""))
        started = await desk.pay(UUID(org["id"]), Order(amount_minor=100_00, flow="intent"), "s")
        await control._client.post(
            f"{stripe_server.url}/v1/payment_intents/{started.payment.intent_id}/confirm",
            data={"payment_method": "pm_card_visa", "return_url": "https://example.com/"}, headers={"authorization": f"Bearer {KEY}"},
        )  # fmt: skip
    # Nobody has told us: reading Stripe's account finds it.
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    found = await tallylight("reconcile", "--date", today)
    assert found.returncode == 0 and "nothing is to be done" in found.stdout and "¥95.10" in found.stdout, found.stderr
    (listed,) = json.loads((await tallylight("payments", "list", "--org", "acme", "--json")).stdout)
    assert (listed["state"], listed["received_minor"]) == ("succeeded", 100_00)
    argv = ("payments", "refund", "--org", "acme", listed["id"], "--reason", "asked for", "--source", "r", "--amount", "40")
    for _ in range(2):
        assert "40.00 succeeded" in (await tallylight(*argv)).stdout
    too_much = await tallylight("payments", "refund", "--org", "acme", listed["id"], "--reason", "asked for", "--amount", "61")
    assert too_much.returncode == 1 and "is left of payment" in too_much.stderr
    assert "payments.refund" in (await tallylight("audit", "list", "--org", "acme")).stdout
    # Somebody else's money on the same account.
    await control._client.post(
        f"{stripe_server.url}/v1/payment_intents",
        data={"amount": 5000, "currency": "cny", "confirm": "true", "payment_method": "pm_card_visa", "return_url": "https://example.com/"},
        headers={"authorization": f"Bearer {KEY}"},
    )  # fmt: skip
    raised = await tallylight("reconcile", "--date", today, "--json")
    assert raised.returncode == 1
    report = json.loads(raised.stdout)
    assert [one["reason"] for one in report["raised"]] == ["not_booked"] and report["accounts"][0]["unexplained_micro"] == 0
    assert "TO BE DONE" in (await tallylight("reconcile", "--date", today)).stdout
