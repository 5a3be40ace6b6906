"""`python -m tests.egress.door`: the API as it is served, with names that mean what a test needs.

`picture.example.com` is at 127.0.0.2; `rebound.example.com` is there when it is asked the first time and at 127.0.0.1 ever
after; every other name is at 127.0.0.1, where nobody may come.
"""

import os
from collections.abc import Sequence
from ipaddress import ip_address

from gateway.cli.server import run
from gateway.egress.addresses import Address
from gateway.egress.guard import Egress
from gateway.settings import Settings

_asked: list[str] = []


async def names(host: str, _port: int) -> Sequence[Address]:
    _asked.append(host)
    outside = host == "picture.example.com" or (host == "rebound.example.com" and _asked.count(host) == 1)
    return [ip_address("127.0.0.2" if outside else "127.0.0.1")]


if __name__ == "__main__":
    assert Egress.__init__.__kwdefaults__
    Egress.__init__.__kwdefaults__["resolver"] = names
    run(Settings.load({}, os.environ))
