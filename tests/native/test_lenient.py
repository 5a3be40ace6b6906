"""Unsupported fields of a lenient key: dropped wherever they stand, and named."""

from typing import Any

import msgspec
import pytest

from gateway.edge.bodies import IGNORED_MAX, decode_lenient, ignored_header
from gateway.errors import InvalidRequest, UnsupportedField


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    count: int = 0
    items: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}


def test_drops_unsupported_fields_and_names_them() -> None:
    raw = {"name": "a", "x": {"y": 1}, "items": [{"role": "r"}, {"role": "s", "x": 2, "a.b": 3}]}
    body, ignored = decode_lenient(raw, Outer)
    assert body == Outer("a", items=(Inner("r"), Inner("s")))
    assert sorted(ignored) == ["items[1].a.b", "items[1].x", "x"]


def test_takes_forms() -> None:
    assert decode_lenient({"name": "a", "count": "3", "x": "1"}, Outer, strict=False) == (Outer("a", 3), ["x"])


@pytest.mark.parametrize(
    "raw",
    [
        {"x": 1},
        {"name": 1, "x": 1},
        {"name": "a", "` - at `$.name": 1},
        [],
        None,
        {"name": "a", "named": {"k": {"role": "r", "x": 1}}},
    ],
    ids=["missing", "mistyped", "misleading", "list", "null", "inside-a-mapping"],
)
def test_what_is_wrong_stays_wrong(raw: Any) -> None:
    with pytest.raises((InvalidRequest, UnsupportedField)):
        decode_lenient(raw, Outer)


def test_is_bounded() -> None:
    with pytest.raises(UnsupportedField):
        decode_lenient({"name": "a"} | {f"x{n}": n for n in range(IGNORED_MAX + 1)}, Outer)


@pytest.mark.parametrize("name", ["a\r\nset-cookie: x", "é", "a, b", "", "\x00", "x" * 5000])
def test_no_name_breaks_out_of_the_header(name: str) -> None:
    _, ignored = decode_lenient({"name": "a", name: 1}, Outer)
    value = ignored_header(ignored)["x-ignored-fields"]
    assert value.isascii()
    assert value.isprintable()
    assert "," not in value
    assert len(value) <= 300
