"""The client of the control plane: what a test makes Stripe, its customers and the network do."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import httpx

from tests.stripe.server.webhooks import NO_TLS

Json: TypeAlias = dict[str, Any]


class Control:
    """Speaks to `url`/_control; every verb returns what the server answered."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=f"{url}/_control", timeout=60, trust_env=False, verify=NO_TLS)

    async def close(self) -> None:
        await self._client.aclose()

    async def tell(self, verb: str, **said: Any) -> Any:
        answer = await self._client.post(f"/{verb}", json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def reset(self, **said: Any) -> None:
        """Forgets everything; `settings`, `now` and `seed` start the next life."""
        await self.tell("reset", **said)

    async def settings(self, **changed: Any) -> Json:
        return await self.tell("settings", **changed)

    async def advance(self, seconds: int) -> int:
        """Moves the clock on and returns it, in unix seconds."""
        return (await self.tell("clock", advance_s=seconds))["now"]

    async def now(self) -> int:
        return (await self.tell("clock"))["now"]

    async def requests(self) -> list[Json]:
        """What arrived at the API, oldest first."""
        return await self.tell("requests")

    async def dump(self) -> Json:
        return await self.tell("dump")

    async def restore(self, dumped: Json) -> None:
        await self.tell("restore", **dumped)

    async def fault(
        self, what: str, *, at: str = "before", method: str = "*", path: str = "*", times: int = 1, **error: Any
    ) -> None:
        """`what`: reset, cut, hold or error (with `status`, `type`, `code`); `at`: before anything ran, or after it did."""
        await self.tell("faults", what=what, at=at, method=method, path=path, times=times, **error)

    async def clear_faults(self) -> None:
        await self.tell("faults/clear")

    async def release(self) -> None:
        """Lets go of the requests that a fault holds."""
        await self.tell("release")

    async def plan(self, customer: str = "*", **outcome: str) -> None:
        """How the customer's next confirmation goes: `declines="insufficient_funds"` or `authenticates="always"`."""
        await self.tell("plan", customer=customer, **outcome)

    async def authenticate(self, intent: str, *, ok: bool) -> Json:
        """The customer finishes, or fails, 3-D Secure, Alipay or WeChat Pay."""
        return await self.tell("authenticate", intent=intent, ok=ok)

    async def settle_charge(self, charge: str) -> Json:
        return await self.tell("charges/settle", charge=charge)

    async def settle_refund(self, refund: str, outcome: str) -> Json:
        return await self.tell("refunds/settle", refund=refund, outcome=outcome)

    async def dispute(self, charge: str, **said: Any) -> Json:
        """Opens one; `reason` and `amount` may be given."""
        return await self.tell("disputes/open", charge=charge, **said)

    async def close_dispute(self, dispute: str, verdict: str) -> Json:
        return await self.tell("disputes/close", dispute=dispute, verdict=verdict)

    async def settle_payout(self, payout: str, outcome: str) -> Json:
        """`arrive`, or a failure code such as `account_closed`."""
        return await self.tell("payouts/settle", payout=payout, outcome=outcome)

    async def require(self, account: str, due: Sequence[str] = ()) -> Json:
        """Asks a connected account for these; for nothing, and it is verified."""
        return await self.tell("accounts/require", account=account, due=list(due))

    async def webhooks(self) -> list[Json]:
        """Every delivery there is: id, event, type, endpoint, state, attempts."""
        return await self.tell("webhooks")

    async def waiting(self) -> list[str]:
        """Ids of events not delivered yet, oldest first."""
        return list(dict.fromkeys(one["event"] for one in await self.webhooks() if one["state"] == "waiting"))

    async def deliver(self, events: Sequence[str] | None = None, **said: Any) -> list[int]:
        """Sends these events in this order, also again; without any, `count` of the waiting ones, shuffled by `seed`."""
        told = said if events is None else {"events": list(events), **said}
        return [sent["status"] for sent in await self.tell("webhooks/deliver", **told)]

    async def drop(self, events: Sequence[str] | None = None, **said: Any) -> list[str]:
        """Loses them."""
        return await self.tell("webhooks/drop", **(said if events is None else {"events": list(events), **said}))

    async def forge(self, event: str, how: str) -> int:
        """Sends the event forged (FORGERIES of tests/stripe/server/webhooks.py) and returns the status."""
        return (await self.tell("webhooks/forge", event=event, how=how))["status"]

    async def settled(self) -> None:
        """Returns once everything that is due was sent."""
        await self.tell("webhooks/settled")
