"""Delivery of events: signatures the SDK accepts, retries, and every order, loss, repetition and forgery a test asks for."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from tests.stripe.control import Control
from tests.stripe.fixtures import NOW
from tests.stripe.server.http import Answer, HttpServer, Request
from tests.stripe.server.webhooks import FORGERIES

SKEW_S = 300


class Receiver:
    """An endpoint that keeps what it gets and answers with `status`."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.status = 200
        self.http = HttpServer(self._take)

    async def _take(self, request: Request) -> Answer:
        self.got.append(request)
        return Answer(self.status, b"{}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}/hook"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.http.start("127.0.0.1", 0)
    yield made
    await made.http.close()


async def listen(client: StripeClient, receiver: Receiver, *types: str) -> str:
    """The secret of a new endpoint at the receiver."""
    wanted: list[Any] = list(types or ["*"])
    endpoint = await client.v1.webhook_endpoints.create_async({"url": receiver.url, "enabled_events": wanted})
    assert endpoint.secret is not None
    return endpoint.secret


def heard(receiver: Receiver, secret: str, now: int = NOW) -> list[str]:
    """Types of the events that arrived, verified by the SDK on the raw bytes."""
    types: list[str] = []
    for request in receiver.got:
        header = request.headers["stripe-signature"]
        assert stripe.WebhookSignature.verify_header(request.body.decode(), header, secret, tolerance=None)
        assert header.startswith(f"t={now},")
        types.append(stripe.Event.construct_from(json.loads(request.body), "").type)
    return types


def accepted(request: Request, secret: str) -> bool:
    """What a careful receiver says: the SDK's verification, and the skew bounded in both directions by its own clock."""
    header = request.headers.get("stripe-signature", "")
    try:
        at = int(dict(part.split("=", 1) for part in header.split(","))["t"])
        stripe.WebhookSignature.verify_header(request.body.decode(), header, secret, tolerance=None)
        stripe.Event.construct_from(json.loads(request.body), "")
    except (stripe.SignatureVerificationError, KeyError, ValueError):
        return False
    return abs(at - NOW) <= SKEW_S


async def test_events_arrive_in_the_order_that_is_asked_for(
    stripe_client: StripeClient, control: Control, receiver: Receiver
) -> None:
    secret = await listen(stripe_client, receiver, "customer.created", "customer.updated")
    customer = await stripe_client.v1.customers.create_async()
    await stripe_client.v1.customers.update_async(customer.id, {"name": "Ada"})
    first, second = await control.waiting()
    assert receiver.got == []
    assert await control.deliver([second, first, second]) == [200, 200, 200]
    assert heard(receiver, secret) == ["customer.updated", "customer.created", "customer.updated"]
    assert await control.waiting() == []


async def test_an_event_carries_the_request_and_what_changed(
    stripe_client: StripeClient, control: Control, receiver: Receiver
) -> None:
    await listen(stripe_client, receiver)
    customer = await stripe_client.v1.customers.create_async({"name": "Ada"}, {"idempotency_key": "k1"})
    await stripe_client.v1.customers.update_async(customer.id, {"name": "Eva"})
    updated, created = (await stripe_client.v1.events.list_async()).data
    assert created.request is not None
    assert created.request.idempotency_key == "k1"
    assert created.pending_webhooks == 1
    assert updated.data.previous_attributes is not None
    assert updated.data.previous_attributes.to_dict() == {"name": "Ada"}
    await control.deliver()
    assert (await stripe_client.v1.events.retrieve_async(created.id)).pending_webhooks == 0
    assert [
        one.type async for one in (await stripe_client.v1.events.list_async({"types": ["customer.updated"]})).auto_paging_iter()
    ] == ["customer.updated"]


async def test_a_failed_delivery_is_tried_again_until_three_days_are_over(
    stripe_client: StripeClient, control: Control, receiver: Receiver
) -> None:
    secret = await listen(stripe_client, receiver, "customer.created")
    await control.settings(webhooks="auto")
    receiver.status = 500
    await stripe_client.v1.customers.create_async()
    await control.settled()
    assert len(receiver.got) == 1
    await control.advance(60)
    assert len(receiver.got) == 2
    receiver.status = 200
    await control.advance(300)
    assert len(receiver.got) == 3
    assert all(
        stripe.WebhookSignature.verify_header(one.body.decode(), one.headers["stripe-signature"], secret, None)
        for one in receiver.got
    )
    assert [one["state"] for one in await control.webhooks()] == ["delivered"]
    receiver.status = 500
    await stripe_client.v1.customers.create_async()
    await control.advance(4 * 24 * 3600)
    assert [one["state"] for one in await control.webhooks()] == ["delivered", "failed"]
    assert len(receiver.got) == 3 + 11


async def test_a_lost_event_is_still_in_the_list(stripe_client: StripeClient, control: Control, receiver: Receiver) -> None:
    await listen(stripe_client, receiver)
    await stripe_client.v1.customers.create_async()
    assert len(await control.drop()) == 1
    await control.deliver()
    assert receiver.got == []
    assert [one.type for one in (await stripe_client.v1.events.list_async({"delivery_success": False})).data] == [
        "customer.created"
    ]


async def test_a_seed_shuffles_the_same_way_every_time(stripe_client: StripeClient, control: Control, receiver: Receiver) -> None:
    await listen(stripe_client, receiver)
    for _ in range(6):
        await stripe_client.v1.customers.create_async()
    orders: list[list[bytes]] = []
    for seed in (1, 1, 2):
        receiver.got.clear()
        dumped = await control.dump()
        await control.deliver(seed=seed)
        await control.restore(dumped)
        orders.append([request.body for request in receiver.got])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@pytest.mark.parametrize("how", sorted(FORGERIES))
async def test_no_forgery_passes_the_sdk(stripe_client: StripeClient, control: Control, receiver: Receiver, how: str) -> None:
    secret = await listen(stripe_client, receiver)
    await stripe_client.v1.payment_intents.create_async({"amount": 1000, "currency": "usd"})
    (event,) = await control.waiting()
    await control.forge(event, how)
    await control.deliver()
    assert [accepted(request, secret) for request in receiver.got] == [False, True]


async def test_events_of_a_connected_account_go_to_connect_endpoints(
    stripe_client: StripeClient, control: Control, receiver: Receiver
) -> None:
    await stripe_client.v1.webhook_endpoints.create_async(
        {"url": receiver.url, "enabled_events": ["payout.created"], "connect": True}
    )
    account = await stripe_client.v1.accounts.create_async(
        {"type": "express", "capabilities": {"transfers": {"requested": True}}}
    )
    await control.require(account.id)
    await stripe_client.v1.payment_intents.create_async(
        {
            "amount": 10000,
            "currency": "usd",
            "payment_method": "pm_card_bypassPending",
            "allowed_payment_method_types": ["card"],
            "confirm": True,
        }
    )
    await stripe_client.v1.transfers.create_async({"amount": 5000, "currency": "usd", "destination": account.id})
    await stripe_client.v1.payouts.create_async({"amount": 1000, "currency": "usd"})
    await stripe_client.v1.payouts.create_async({"amount": 1000, "currency": "usd"}, {"stripe_account": account.id})
    await control.deliver()
    assert [json.loads(request.body)["account"] for request in receiver.got] == [account.id]


async def test_without_orders_each_event_is_sent_once(stripe_client: StripeClient, control: Control, receiver: Receiver) -> None:
    await listen(stripe_client, receiver)
    await control.settings(webhooks="auto")
    made = await asyncio.gather(*(stripe_client.v1.customers.create_async() for _ in range(5)))
    await control.settled()
    assert len(receiver.got) == len(made)
