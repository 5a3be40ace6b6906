"""Pages for people."""

from tests.stripe.server.http import Answer, Request
from tests.stripe.server.world import World


def answer(world: World, request: Request) -> Answer:
    return Answer(404, b"Not found", {"content-type": "text/plain"})
