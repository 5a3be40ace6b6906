"""Does a row struct fit the columns of its statement? Rows are made by position and nothing is converted on the way."""

import types
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

PYTHON: dict[str, type] = {
    "bool": bool,
    "bytea": bytes,
    "date": date,
    "float4": float,
    "float8": float,
    "int2": int,
    "int4": int,
    "int8": int,
    "interval": timedelta,
    "jsonb": bytes,
    "numeric": Decimal,
    "text": str,
    "timestamptz": datetime,
    "uuid": UUID,
    "varchar": str,
}
"""What asyncpg returns for each type of a column; jsonb as the pool decodes it."""


class Column(NamedTuple):
    name: str
    type: str


def misfits(row: type[msgspec.Struct], columns: Sequence[Column]) -> Iterator[str]:
    names = [column.name for column in columns]
    if names != list(row.__struct_fields__):
        yield f"{row.__name__} has fields {', '.join(row.__struct_fields__)}; the statement returns {', '.join(names)}"
        return
    hints = get_type_hints(row)
    for column in columns:
        wanted = expected(column.type)
        if wanted is None:
            yield f"{row.__name__}.{column.name}: no Python type is known for {column.type}; cast it or add it to PYTHON"
        elif wrong := sorted(kind for kind in accepted(hints[column.name]) if kind != wanted):
            yield f"{row.__name__}.{column.name} takes {', '.join(wrong)}; the statement returns {wanted} ({column.type})"


def expected(column: str) -> str | None:
    element = column.removesuffix("[]")
    kind = PYTHON.get(element)
    if kind is None:
        return None
    return f"list[{kind.__name__}]" if element != column else kind.__name__


def accepted(hint: Any) -> set[str]:
    """The names of the types a field takes, None aside: PREPARE does not tell which columns may be null."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return set[str]().union(*(accepted(member) for member in get_args(hint))) - {"NoneType"}
    if origin is Literal:
        return {type(value).__name__ for value in get_args(hint)} - {"NoneType"}
    if origin is list:
        return {f"list[{kind}]" for kind in accepted(get_args(hint)[0])}
    supertype = getattr(hint, "__supertype__", None)
    return accepted(supertype) if supertype is not None else {getattr(hint, "__name__", str(hint))}
