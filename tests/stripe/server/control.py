"""The control plane under /_control: what a test tells the world to do, as JSON. `tests/stripe/control.py` is its client."""

import json
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from tests.stripe.server import money, shopper
from tests.stripe.server.errors import Json, StripeError
from tests.stripe.server.http import Answer, Request
from tests.stripe.server.resources import accounts, disputes, payouts, refunds
from tests.stripe.server.settings import Settings
from tests.stripe.server.world import Delivery, Fault, fresh

if TYPE_CHECKING:
    from tests.stripe.server.server import Server

Verb: TypeAlias = Callable[["Server", Json], Awaitable[object]]
VERBS: dict[str, Verb] = {}


def verb(name: str) -> Callable[[Verb], Verb]:
    def register(act: Verb) -> Verb:
        VERBS[name] = act
        return act

    return register


async def answer(server: "Server", request: Request) -> Answer:
    act = VERBS.get(request.path.removeprefix("/_control/"))
    if act is None:
        return Answer(404, b'{"error": "no such verb"}')
    try:
        said: Json = json.loads(request.body) if request.body else dict(parse_qsl(request.query))
        done = await act(server, said)
    except StripeError as error:
        return Answer(error.status, json.dumps({"error": error.body}).encode())
    except (KeyError, ValueError, TypeError) as error:
        return Answer(400, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
    return Answer(200, done if isinstance(done, bytes) else msgspec.json.encode(done))


@verb("reset")
async def reset(server: "Server", said: Json) -> object:
    """Forgets everything. `settings`, `now` and `seed` start the next life."""
    settings = msgspec.convert(said.get("settings", {}), Settings, strict=False)
    server.world.state = fresh(settings, now=said.get("now"), seed=said.get("seed", ""), ticking=server.world.state.ticking)
    server.world.acting = settings.platform
    server.api.log.clear()
    return {"now": server.world.now}


@verb("settings")
async def change_settings(server: "Server", said: Json) -> object:
    """Replaces the settings named; all of them are answered."""
    merged = msgspec.to_builtins(server.world.settings) | said
    server.world.state.settings = msgspec.convert(merged, Settings, strict=False)
    return server.world.settings


@verb("dump")
async def dump(server: "Server", said: Json) -> object:
    return server.world.dump()


@verb("restore")
async def restore(server: "Server", said: Json) -> object:
    server.world.restore(json.dumps(said).encode())
    return {"now": server.world.now}


@verb("clock")
async def clock(server: "Server", said: Json) -> object:
    """`advance_s` moves it on, `to` moves it there; without either it is only read."""
    until = said.get("to", server.world.now + said.get("advance_s", 0))
    await server.advance(until)
    return {"now": server.world.now}


@verb("requests")
async def requests(server: "Server", said: Json) -> object:
    return server.api.log


@verb("faults")
async def add_fault(server: "Server", said: Json) -> object:
    fault = msgspec.convert(said, Fault)
    fault.id = server.world.new_id("fault")
    server.world.state.faults.append(fault)
    return fault


@verb("faults/clear")
async def clear_faults(server: "Server", said: Json) -> object:
    server.world.state.faults.clear()
    return {}


@verb("release")
async def release(server: "Server", said: Json) -> object:
    """Lets go of the requests that are held."""
    server.api.release()
    return {}


@verb("plan")
async def plan(server: "Server", said: Json) -> object:
    """Lays down how the next confirmation of `customer` (all, if none is named) goes: `declines` or `authenticates`."""
    server.world.state.planned.setdefault(said.pop("customer", "*"), []).append(said)
    return {}


@verb("authenticate")
async def authenticate(server: "Server", said: Json) -> object:
    """What the customer does on the bank's, Alipay's or WeChat's page."""
    intent = shopper.authenticate(server.world, said["intent"], ok=said["ok"])
    await server.deliver_due()
    return intent


@verb("charges/settle")
async def settle_charge(server: "Server", said: Json) -> object:
    """Writes the balance transaction that was null."""
    money.settle_late(server.world, said["charge"])
    await server.deliver_due()
    return server.world.get("charge", said["charge"])


@verb("disputes/open")
async def open_dispute(server: "Server", said: Json) -> object:
    charge = server.world.get("charge", said["charge"])
    dispute = disputes.open_dispute(server.world, charge, said.get("reason", "fraudulent"), said.get("amount"))
    await server.deliver_due()
    return dispute


@verb("disputes/close")
async def close_dispute(server: "Server", said: Json) -> object:
    dispute = disputes.close_dispute(server.world, server.world.get("dispute", said["dispute"]), said["verdict"])
    await server.deliver_due()
    return dispute


@verb("refunds/settle")
async def settle_refund(server: "Server", said: Json) -> object:
    """`outcome` is succeed or fail."""
    {"succeed": refunds.succeed, "fail": refunds.fail}[said["outcome"]](server.world, said["refund"])
    await server.deliver_due()
    return server.world.get("refund", said["refund"])


@verb("payouts/settle")
async def settle_payout(server: "Server", said: Json) -> object:
    """`outcome` is arrive or a failure code such as account_closed."""
    with server.world.as_owner(said["payout"]):
        row = server.world.get("payout", said["payout"])
        if said["outcome"] == "arrive":
            payouts.arrive(server.world, row["id"])
        else:
            payouts.fail(server.world, row, said["outcome"])
    await server.deliver_due()
    return row


@verb("accounts/require")
async def require(server: "Server", said: Json) -> object:
    """What Stripe asks of the account from now on; nothing, and it is verified."""
    account = server.world.get("account", said["account"])
    if said["due"]:
        accounts.require(server.world, account, said["due"])
    else:
        accounts.provide(server.world, account)
    await server.deliver_due()
    return account


@verb("webhooks")
async def webhooks(server: "Server", said: Json) -> object:
    """Every delivery with the type of its event, oldest first."""
    events = server.world.state.tables.get("event", {})
    return [
        msgspec.to_builtins(delivery) | {"type": events[delivery.event]["type"]} for delivery in server.world.state.deliveries
    ]


def _chosen(server: "Server", said: Json) -> list[Delivery]:
    """The deliveries of `events` in the order given, twice where named twice; else the first waiting ones, shuffled by `seed`."""
    if (events := said.get("events")) is not None:
        every = server.world.state.deliveries
        return [delivery for event in events for delivery in every if delivery.event == event]
    waiting = server.post.waiting()
    if "seed" in said:
        random.Random(said["seed"]).shuffle(waiting)
    return waiting[: said.get("count", len(waiting))]


@verb("webhooks/deliver")
async def deliver(server: "Server", said: Json) -> object:
    """Sends now and one after the other, whatever the settings say. Answers the statuses."""
    return [{"event": delivery.event, "status": await server.post.attempt(delivery)} for delivery in _chosen(server, said)]


@verb("webhooks/drop")
async def drop(server: "Server", said: Json) -> object:
    """Loses deliveries: they are never tried again."""
    chosen = _chosen(server, said)
    for delivery in chosen:
        delivery.state = "dropped"
    return [delivery.event for delivery in chosen]


@verb("webhooks/forge")
async def forge(server: "Server", said: Json) -> object:
    """Sends `event` forged in the manner of `how`. Answers the status."""
    (delivery,) = _chosen(server, {"events": [said["event"]]})[:1]
    return {"status": await server.post.forge(delivery, said["how"])}


@verb("webhooks/settled")
async def settled(server: "Server", said: Json) -> object:
    """Answers once everything that is due was sent."""
    await server.deliver_due()
    return {"waiting": len(server.post.waiting())}
