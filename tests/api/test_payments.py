"""Payments over the API, with Stripe, the API and the clerk as processes: a page is paid, messages come, forgeries do not."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from billing.kit.query import Conn
from gateway.settings import Secret
from tests.api.test_managers import manage
from tests.conftest import free_port
from tests.stack import ROOT, Stack, beside, running_stack
from tests.stripe.control import Control
from tests.stripe.server.webhooks import FORGERIES
from tests.stripe.visitor import Visitor

RETURN = "https://example.com/back"


class Till(msgspec.Struct):
    """The gateway and the Stripe it pays with."""

    stack: Stack
    stripe_url: str


@pytest.fixture(scope="module")
def till(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Till]:
    folder, port = tmp_path_factory.mktemp("till"), free_port()
    ready = folder / "stripe.json"
    hook = f"http://127.0.0.1:{port}/stripe/webhook"
    stripe = subprocess.Popen([sys.executable, "-m", "tests.stripe", "--ready-file", str(ready), "--webhook-url", hook], cwd=ROOT)
    try:
        told = _read(ready, stripe)
        with running_stack(
            module_dsn, folder, replicas=0, roles=("api", "clerk"), port=port, stripe_url=told["url"],
            stripe_api_key=Secret(told["key"]), stripe_webhook_secret=Secret(told["webhook_secret"]),
        ) as stack:  # fmt: skip
            yield Till(stack, told["url"])
    finally:
        stripe.terminate()
        stripe.wait(timeout=20)


def _read(ready: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    async def wait() -> None:
        async with asyncio.timeout(30):
            while not ready.exists():
                assert process.poll() is None
                await asyncio.sleep(0.02)

    beside(wait())
    return json.loads(ready.read_text())


async def pays_on_page(url: str) -> str:
    parts = urlsplit(url)
    async with httpx.AsyncClient(base_url=f"{parts.scheme}://{parts.netloc}", trust_env=False) as client:
        visitor = Visitor(client)
        await visitor.open(url)
        await visitor.press("Card", number="4242 4242 4242 4242", email="ada@example.com")
        return str(visitor.url)


def test_a_page_is_paid_and_the_message_fills_the_wallet(till: Till) -> None:
    customer = till.stack.customer(amount_micro=1_000_000)
    with manage(till.stack, customer, "billing:read", "billing:write") as client:
        body = {"amount_minor": 100_00, "return_url": RETURN}
        made = client.post("/v1/payments", json=body, headers={"idempotency-key": "k"})
        assert made.status_code == 201, made.text
        again = client.post("/v1/payments", json=body, headers={"idempotency-key": "k"})
        assert again.json() == made.json() and made.json()["url"].startswith("http")
        other = client.post("/v1/payments", json={**body, "amount_minor": 1_00}, headers={"idempotency-key": "k"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        assert beside(pays_on_page(made.json()["url"])) == RETURN
        till.stack.wait(lambda: till.stack.wallet(customer).posted == 101_000_000, "the wallet is filled")
        paid = client.get(f"/v1/payments/{made.json()['id']}").json()
        assert (paid["state"], paid["received_minor"], paid["url"]) == ("succeeded", 100_00, None)
        assert client.get("/v1/payments").json()["data"] == [paid]
        assert [
            event["kind"] for event in httpx.get(f"{till.stack.base_url}/v1/events", headers=customer.bearer).json()["data"]
        ] == ["payment.succeeded"]
    with manage(till.stack, till.stack.customer(), "billing:read") as stranger:
        assert stranger.get(f"/v1/payments/{made.json()['id']}").status_code == 404
        assert stranger.get("/v1/payments").json()["data"] == []
        assert stranger.post("/v1/payments", json=body).status_code == 403


async def trail(conn: Conn) -> list[str]:
    rows = await conn.fetch("SELECT action FROM gateway.audit_entry WHERE action LIKE 'paying%'")
    return [row["action"] for row in rows]


def test_what_makes_no_sense_is_refused_with_the_field(till: Till) -> None:
    with manage(till.stack, till.stack.customer(), "billing:read", "billing:write") as client:
        for wrong, status in (
            ({}, 400), ({"return_url": RETURN}, 400), ({"amount_minor": 0, "return_url": RETURN}, 400),
            ({"amount_minor": 100_00, "return_url": "http://example.com/"}, 400),
            ({"amount_minor": 100_00, "return_url": "javascript:alert(1)"}, 400),
            ({"amount_minor": 100_00, "return_url": RETURN, "methods": ["bitcoin"]}, 400),
            ({"amount_minor": 100_00, "return_url": RETURN, "purpose": "pack", "subject": "x"}, 400),
            ({"return_url": RETURN, "purpose": "pack", "subject": "x"}, 404),
            ({"return_url": RETURN, "purpose": "invoice", "subject": "x"}, 404),
            ({"amount_minor": 1, "return_url": RETURN}, 402),
        ):  # fmt: skip
            assert client.post("/v1/payments", json=wrong).status_code == status, wrong


def test_how_the_organization_pays_is_set_and_its_card_saved_and_forgotten(till: Till) -> None:
    with manage(till.stack, till.stack.customer(), "billing:read", "billing:write") as client:
        recharge = {"threshold_micro": 0, "amount_minor": 100_00, "month_max_minor": 200_00}
        wanted = {"invoices": "charge", "recharge": recharge, "return_url": RETURN}
        assert client.get("/v1/paying").json()["invoices"] == "send"
        assert client.put("/v1/paying", json=wanted).json().items() >= wanted.items()
        assert till.stack.database(trail) == ["paying.change"]
        low = {**recharge, "month_max_minor": 1}
        assert client.put("/v1/paying", json={**wanted, "recharge": low}).status_code == 400
        page = client.post("/v1/payment-methods", json={"return_url": RETURN}).json()["url"]
        beside(pays_on_page(page))
        till.stack.wait(lambda: bool(client.get("/v1/payment-methods").json()["data"]), "the card is saved")
        (saved,) = client.get("/v1/payment-methods").json()["data"]
        assert client.get("/v1/paying").json()["method"] == saved["id"]
        assert client.post("/v1/paying/portal", json={"return_url": RETURN}).json()["url"].startswith("http")
        assert client.delete(f"/v1/payment-methods/{saved['id']}").status_code == 204
        assert client.get("/v1/payment-methods").json()["data"] == []
        assert client.delete("/v1/payment-methods/pm_nothing").status_code == 404


def test_no_forgery_is_kept_and_none_is_a_fault_of_ours(till: Till) -> None:
    async def forge() -> dict[str, int]:
        control = Control(till.stripe_url)
        try:
            event = (await control.webhooks())[0]["event"]
            return {how: await control.forge(event, how) for how in FORGERIES}
        finally:
            await control.close()

    async def kept(conn: Conn) -> int:
        return await conn.fetchval("SELECT count(*) FROM billing.stripe_event")

    before = till.stack.database(kept)
    assert set(beside(forge()).values()) == {400}
    for content in (None, b"", b"\xff" * 3_000_000, b"[" * 200_000):
        for header in (
            {},
            {"stripe-signature": "t=1,v1=" + "0" * 64},
            {"stripe-signature": b"\xff\xfe"},
            {"stripe-signature": "x" * 5000},
        ):
            answer = httpx.post(f"{till.stack.base_url}/stripe/webhook", content=content, headers=header)  # pyright: ignore[reportArgumentType] bytes that are no text
            assert (answer.status_code, answer.json()["code"]) == (400, "webhook_refused")
    assert till.stack.database(kept) == before
