"""Who sends the load: organizations with money and keys, and their requests, encoded once."""

import asyncio
from uuid import UUID

import msgspec

from billing.kit.ids import new_id
from billing.kit.pool import open_pool
from billing.kit.query import Conn
from billing.ledger.wallets import top_up
from billing.pricing.book import publish
from gateway.access.keys import issue_key
from gateway.access.organizations import open_organization
from gateway.fleet.offers import load_prices

MONEY_MICRO = 10**17
"""Enough for any benchmark."""

BODY = {
    "model": "testcard",
    "prompt": "A red paper lantern drifts over a quiet canal at dusk, reflections trembling on the water, slow push in.",
    "seconds": 4,
    "size": "1280x720",
    "seed": 7,
    "external_id": "shot-0042",
    "metadata": {"campaign": "autumn", "scene": "12"},
}
"""What a client typically says: 250 bytes of JSON."""


class Customer(msgspec.Struct, frozen=True):
    org_id: UUID
    token: str


def open_customers(dsn: str, count: int) -> list[Customer]:
    """Organizations with a live key and money; publishes the price list."""
    return asyncio.run(_open_customers(dsn, count))


async def _open_customers(dsn: str, count: int) -> list[Customer]:
    async with await open_pool(dsn, name="bench", size_max=4) as pool, pool.acquire() as conn, conn.transaction():
        for card in load_prices(""):
            await publish(conn, card)
        return [await _open_customer(conn) for _ in range(count)]


async def _open_customer(conn: Conn) -> Customer:
    organization = await open_organization(conn, f"bench-{new_id()}", "CNY")
    await top_up(conn, source=str(organization.id), customer_id=organization.id, asset="CNY", amount_micro=MONEY_MICRO)
    _, token = await issue_key(conn, organization.id, name="bench", livemode=True)
    return Customer(organization.id, token)


def http(method: str, path: str, port: int, token: str, body: bytes = b"") -> bytes:
    """A whole request, with the headers that any client sends."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "accept: application/json",
        "accept-encoding: gzip, deflate",
        "user-agent: tallylight-bench",
        f"authorization: Bearer {token}",
    ]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def creates(customers: list[Customer], port: int, path: str) -> list[bytes]:
    body = msgspec.json.encode(BODY)
    return [http("POST", path, port, customer.token, body) for customer in customers]
