"""`expand[]`: ids replaced by what they name, along dotted paths, at most four deep."""

import copy
from typing import Any

from tests.stripe.server.errors import Json, malformed, refused
from tests.stripe.server.routes import INCLUDED
from tests.stripe.server.world import World

DEPTH_MAX = 4


def expanded(world: World, answer: Json, paths: list[str]) -> Json:
    """A copy of `answer`; what was stored keeps its ids."""
    answer = copy.deepcopy(answer)
    for path in paths:
        steps = path.split(".")
        if len([step for step in steps if step != "data"]) > DEPTH_MAX:
            raise malformed("You cannot expand more than 4 levels of a property.", param="expand")
        _walk(world, answer, steps, path)
    return answer


def _walk(world: World, node: Any, steps: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(world, item, steps, path)
        return
    if not steps or not isinstance(node, dict):
        return
    step, rest = steps[0], steps[1:]
    make = INCLUDED.get((node.get("object", ""), step))
    if make is not None and node.get(step) is None:
        node[step] = copy.deepcopy(make(world, node))
    if step not in node:
        raise refused(f"This property cannot be expanded ({path}).", param="expand")
    value = node[step]
    if isinstance(value, str):
        if (found := world.find(value)) is None:
            raise refused(f"This property cannot be expanded ({path}).", param="expand")
        node[step] = copy.deepcopy(found)
    elif isinstance(value, list):
        node[step] = [copy.deepcopy(world.find(item)) if isinstance(item, str) else item for item in value]
    _walk(world, node[step], rest, path)
