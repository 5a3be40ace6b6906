"""`python -m tests.bench.server gateway|noop`: the API, or the yardstick under the very same uvicorn options.

The yardstick is the least a Litestar application can do: two routes without middleware, injection or body parsing that
return a constant. uvicorn reads the request's body from the socket, and nobody asks for it.
"""

import os
import sys
from functools import partial
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, get, post

from gateway.cli import server
from gateway.settings import Settings


class Done(msgspec.Struct, frozen=True):
    ok: bool


DONE = Done(ok=True)


@post("/noop")
async def noop_post() -> Done:
    return DONE


@get("/noop")
async def noop_get() -> Done:
    return DONE


def make_noop() -> Litestar:
    return Litestar(route_handlers=[noop_post, noop_get], openapi_config=None, logging_config=None)


def main() -> None:
    settings = Settings.load({}, os.environ)
    if sys.argv[1] == "noop":
        run: Any = uvicorn.run
        server.uvicorn.run = partial(_instead, run)
    server.run(settings)


def _instead(run: Any, _app: str, **options: Any) -> None:
    run("tests.bench.server:make_noop", **options)


if __name__ == "__main__":
    main()
