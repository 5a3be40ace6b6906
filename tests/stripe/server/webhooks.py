"""Delivery of events: signed on the bytes that are sent, retried on the virtual clock, or sent as the control plane orders."""

import hashlib
import hmac
import json
import ssl
from collections.abc import Callable
from typing import TypeAlias

import httpx

from tests.stripe.server.errors import Json
from tests.stripe.server.world import Delivery, World, payload

TIMEOUT_S = 30.0
STALE_S = 3600
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Receivers are on this machine; reading the certificates of the world would take longer than a test."""

Forgery: TypeAlias = Callable[[bytes, str, int], tuple[bytes, dict[str, str]]]


def signature(body: bytes, secret: str, at: int, scheme: str = "v1") -> str:
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},{scheme}={mac}"


class Post:
    """Sends what stands in the world's deliveries."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=NO_TLS)

    async def close(self) -> None:
        await self._client.aclose()

    def waiting(self) -> list[Delivery]:
        return [delivery for delivery in self._world.state.deliveries if delivery.state == "waiting"]

    async def deliver_due(self) -> None:
        """Sends everything that is due, in the order of the events, also what is written while it sends."""
        while due := [delivery for delivery in self.waiting() if delivery.due_at <= self._world.now]:
            for delivery in due:
                await self.attempt(delivery)

    async def attempt(self, delivery: Delivery) -> int:
        """Sends once and notes what came back; anything but 2xx is tried again later. Returns the status, 0 for none."""
        event = self._event(delivery)
        body = payload(event)
        status = await self.send(self._endpoint(delivery), body, self.signed(delivery, body))
        delivery.attempts.append(status)
        waits_s = self._world.settings.webhook_retries_s
        if 200 <= status < 300:
            if delivery.state == "waiting":
                event["pending_webhooks"] -= 1
            delivery.state = "delivered"
        elif delivery.state == "waiting" and len(delivery.attempts) <= len(waits_s):
            delivery.due_at = self._world.now + waits_s[len(delivery.attempts) - 1]
        elif delivery.state == "waiting":
            delivery.state = "failed"
        return status

    def signed(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        return {"stripe-signature": signature(body, self._secret(delivery), self._world.now)}

    async def send(self, endpoint: Json, body: bytes, headers: dict[str, str]) -> int:
        kind = {"content-type": "application/json; charset=utf-8", "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)"}
        try:
            answer = await self._client.post(endpoint["url"], content=body, headers=kind | headers)
        except httpx.TransportError:
            return 0
        return answer.status_code

    async def forge(self, delivery: Delivery, how: str) -> int:
        """Sends an event as nobody should accept it. Returns the status."""
        body, headers = FORGERIES[how](payload(self._event(delivery)), self._secret(delivery), self._world.now)
        return await self.send(self._endpoint(delivery), body, headers)

    def _event(self, delivery: Delivery) -> Json:
        return self._world.state.tables["event"][delivery.event]

    def _endpoint(self, delivery: Delivery) -> Json:
        return self._world.state.tables["webhook_endpoint"][delivery.endpoint]

    def _secret(self, delivery: Delivery) -> str:
        return self._world.secret(delivery.endpoint)["secret"]


def _altered(body: bytes) -> bytes:
    event = json.loads(body)
    event["data"]["object"]["amount"] = 99999999
    return json.dumps(event, indent=2).encode()


def _header(value: str) -> dict[str, str]:
    return {"stripe-signature": value}


FORGERIES: dict[str, Forgery] = {
    "altered_body": lambda body, secret, at: (_altered(body), _header(signature(body, secret, at))),
    "empty_body": lambda body, secret, at: (b"", _header(signature(body, secret, at))),
    "empty_header": lambda body, secret, at: (body, _header("")),
    "future": lambda body, secret, at: (body, _header(signature(body, secret, at + STALE_S))),
    "garbage_header": lambda body, secret, at: (body, _header("=,=,t=,v1=,,,")),
    "header_missing": lambda body, secret, at: (body, {}),
    "later_timestamp": lambda body, secret, at: (body, _header(signature(body, secret, at).replace(f"t={at}", f"t={at + 1}"))),
    "not_json": lambda body, secret, at: (b"not json", _header(signature(b"not json", secret, at))),
    "not_utf8": lambda body, secret, at: (b"\xff\xfe" + body, _header(signature(b"\xff\xfe" + body, secret, at))),
    "old_scheme": lambda body, secret, at: (body, _header(signature(body, secret, at, "v0"))),
    "re_encoded": lambda body, secret, at: (json.dumps(json.loads(body)).encode(), _header(signature(body, secret, at))),
    "stale": lambda body, secret, at: (body, _header(signature(body, secret, at - STALE_S))),
    "timestamp_missing": lambda body, secret, at: (body, _header(signature(body, secret, at).partition(",")[2])),
    "timestamp_word": lambda body, secret, at: (body, _header("t=now," + signature(body, secret, at).partition(",")[2])),
    "truncated_body": lambda body, secret, at: (body[: len(body) // 2], _header(signature(body, secret, at))),
    "truncated_signature": lambda body, secret, at: (body, _header(signature(body, secret, at)[:-8])),
    "wrong_secret": lambda body, secret, at: (body, _header(signature(body, secret + "x", at))),
}
"""Ways to forge a delivery, by name: (body, secret, time) to what is sent. `not_json` and `not_utf8` are rightly signed."""
