"""`python -m tests.stripe --port 0 --ready-file F`: the offline Stripe as a process of its own."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

import msgspec

from tests.stripe.server.form import Params, parse
from tests.stripe.server.resources import webhook_endpoints
from tests.stripe.server.server import serving
from tests.stripe.server.settings import Settings


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.stripe", description="An offline Stripe for tests and local work.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ready-file", type=Path, help="written once the server answers: JSON with url, key and webhook_secret")
    parser.add_argument("--webhook-url", help="where events go; the secret stands in the ready file")
    parser.add_argument("--settings", default="{}", help="JSON, see tests/stripe/server/settings.py")
    parser.add_argument("--clock", choices=("real", "virtual"), default="real", help="virtual: stands still until it is advanced")
    return parser.parse_args()


async def run(told: argparse.Namespace) -> None:
    settings = msgspec.convert(json.loads(told.settings), Settings, strict=False)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings, ticking=told.clock == "real", port=told.port) as server:
        ready = {"url": server.url, "key": settings.secret_keys[0], "webhook_secret": None}
        if told.webhook_url:
            wanted = Params(parse("enabled_events[]=*") | {"url": told.webhook_url})
            ready["webhook_secret"] = webhook_endpoints.create(server.world, wanted)["secret"]
        if told.ready_file:
            partial = told.ready_file.with_suffix(".partial")
            partial.write_text(json.dumps(ready))
            partial.rename(told.ready_file)
        print(json.dumps(ready), flush=True)
        await stop.wait()


asyncio.run(run(arguments()))
