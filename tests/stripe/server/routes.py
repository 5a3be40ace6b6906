"""The table of endpoints: method, path with {ids}, and the verb that answers."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.stripe.server.errors import Json, StripeError
from tests.stripe.server.form import Params
from tests.stripe.server.world import World

Verb: TypeAlias = Callable[..., Json]
ROUTES: list[tuple[str, re.Pattern[str], Verb]] = []
INCLUDED: dict[tuple[str, str], Callable[[World, Json], Any]] = {}
"""Fields that stand on an object only where `expand` asks for them, and how they are made."""


def route(method: str, path: str) -> Callable[[Verb], Verb]:
    """The verb is called as verb(world, params, *ids)."""
    pattern = re.compile(re.sub(r"\{\w+\}", r"([^/]+)", path))

    def register(verb: Verb) -> Verb:
        ROUTES.append((method, pattern, verb))
        return verb

    return register


def included(kind: str, field: str) -> Callable[[Callable[[World, Json], Any]], Callable[[World, Json], Any]]:
    def register(make: Callable[[World, Json], Any]) -> Callable[[World, Json], Any]:
        INCLUDED[kind, field] = make
        return make

    return register


def call(world: World, method: str, path: str, p: Params) -> Json:
    for verb_method, pattern, verb in ROUTES:
        if verb_method == method and (found := pattern.fullmatch(path)):
            return verb(world, p, *found.groups())
    raise StripeError(
        404, "invalid_request_error", f"Unrecognized request URL ({method}: {path}).", code="url_invalid", executed=False
    )
