"""PATCH as JSON Merge Patch (RFC 7396): what is left out stays, what is null is unset, an object is merged field by field."""

from typing import Any, TypeVar, cast

import msgspec

from gateway.edge.bodies import convert

Settings = TypeVar("Settings", bound=msgspec.Struct)


def merged(current: Settings, change: msgspec.Struct) -> Settings:
    """`change` has UNSET for what is left out. Raises InvalidRequest where the result is not allowed."""
    whole: Any = _merge(msgspec.to_builtins(current), msgspec.to_builtins(change))
    return convert(whole, type(current), strict=True)


def _merge(target: object, patch: object) -> object:
    if not isinstance(patch, dict):
        return patch
    result = dict(cast("dict[str, object]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, object]", patch).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result
