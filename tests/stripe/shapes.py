"""Compares an object with the pinned SDK's class for it: every field known, none that is required missing, each value of its type."""

import ast
import inspect
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from stripe import ListObject, StripeObject
from stripe._object_classes import OBJECT_CLASSES

OLD = {"doc_url", "tax_rates"}
"""Fields that Stripe still sends and the SDK no longer names."""


@cache
def fields(cls: type) -> dict[str, Any]:
    """Name and type of each field that the class itself declares."""
    module = import_module(cls.__module__)
    names = {**_imported(module), **vars(module)}
    hints = {name: _hint(text, names) for name, text in cls.__annotations__.items()}
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def _hint(hint: Any, names: dict[str, Any]) -> Any:
    probe = type("Probe", (), {"__annotations__": {"field": hint}})
    return typing.get_type_hints(probe, globalns=names)["field"]


def _imported(module: types.ModuleType) -> dict[str, Any]:
    """What the module imports for its types only."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                found[name.asname or name.name] = getattr(import_module(node.module), name.name)
    return found


def differences(value: Any, hint: Any, path: str) -> Iterator[str]:
    """Where `value`, as it came off the wire, is not what `hint` says."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return
    if origin in {Union, types.UnionType}:
        if any(get_origin(option) is Literal for option in inner):
            inner = tuple(option for option in inner if option is not str)  # a newer Stripe may say more; this one does not
        if not any(not list(differences(value, option, path)) for option in inner):
            yield from min((list(differences(value, option, path)) for option in inner if option is not type(None)), key=len)
    elif origin is Literal:
        if value not in inner:
            yield f"{path}: {value!r} is none of {len(inner)} known values"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
        else:
            for number, item in enumerate(value):
                yield from differences(item, inner[0], f"{path}[{number}]")
    elif (origin or hint) is dict or (origin is not None and not issubclass(origin, ListObject)):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
    elif origin is not None:
        yield from _list(value, inner[0], path)
    elif isinstance(hint, type) and issubclass(hint, StripeObject):
        yield from _object(value, hint, path)
    elif hint is Decimal:
        if not isinstance(value, str):
            yield f"{path}: {value!r} is no decimal in a text"
    elif hint is float and isinstance(value, int):
        return
    elif not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        yield f"{path}: {value!r} is no {hint.__name__}"


def _list(value: Any, item: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict) or value.get("object") != "list" or not {"data", "has_more", "url"} <= value.keys():
        yield f"{path}: {value!r} is no list object"
        return
    for number, row in enumerate(value["data"]):
        yield from differences(row, item, f"{path}.data[{number}]")


def _object(value: Any, cls: type, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    known = fields(cls)
    for name, hint in known.items():
        if name in value:
            yield from differences(value[name], hint, f"{path}.{name}")
        elif type(None) not in get_args(hint):
            yield f"{path}.{name}: missing"
    if known:
        yield from (f"{path}.{name}: the SDK knows no such field" for name in value.keys() - known.keys() - OLD)


def check(row: dict[str, Any]) -> list[str]:
    """The differences of a whole object, judged by its `object`."""
    module, name = OBJECT_CLASSES[row["object"]]
    return list(differences(row, getattr(import_module(module), name), row["object"]))
