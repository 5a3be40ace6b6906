"""Parameters as Stripe reads them: form encoding with brackets, every name known, every value of its type.

A verb first reads all its parameters, then calls `end`, which refuses what nobody read, and only then acts.
"""

from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from tests.stripe.server.errors import Json, StripeError, malformed

Tree: TypeAlias = dict[str, Any]
"""Texts by name, or trees; a list is a tree whose names count from 0."""

METADATA_KEYS_MAX, METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX = 50, 40, 500
LIMIT_MAX = 100


def parse(encoded: str) -> Tree:
    """`a[b][0]=1` becomes {"a": {"b": {"0": "1"}}}."""
    root: Tree = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True, max_num_fields=5000):
        name, bracket, rest = key.partition("[")
        if bracket and not rest.endswith("]"):
            raise malformed(f"Invalid encoding of a parameter name: {key}")
        parts = [name, *(rest[:-1].split("][") if bracket else [])]
        node = root
        for at, part in enumerate(parts):
            part = part or str(len(node))  # noqa: PLW2901 - an empty bracket takes the next number
            if at == len(parts) - 1:
                node[part] = value
            else:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):
                    raise malformed(f"A parameter is both a value and a collection: {key}")
    return root


class Params:
    """One level of parameters; `path` is how an error names it."""

    def __init__(self, tree: Tree, path: str = "") -> None:
        self._tree = tree
        self._path = path
        self._unread = set(tree)
        self._inner: list[Params] = []

    def name(self, key: str) -> str:
        return f"{self._path}[{key}]" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._tree

    def text(self, key: str, *, required: bool = False) -> str | None:
        """An empty text unsets, as a missing one does."""
        self._unread.discard(key)
        value = self._tree.get(key)
        if isinstance(value, dict):
            raise malformed(f"Invalid string: {value}", param=self.name(key))
        if value is None or value == "":
            if required:
                raise malformed(f"Missing required param: {self.name(key)}.", param=self.name(key), code="parameter_missing")
            return None
        return value

    def need(self, key: str) -> str:
        return self.text(key, required=True) or ""

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str | None:
        value = self.text(key)
        if value is not None and value not in options:
            raise malformed(f"Invalid {self.name(key)}: must be one of {', '.join(options)}", param=self.name(key))
        return default if value is None else value

    def integer(self, key: str, *, required: bool = False) -> int | None:
        value = self.text(key, required=required)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise malformed(f"Invalid integer: {value}", param=self.name(key), code="parameter_invalid_integer") from None

    def flag(self, key: str) -> bool | None:
        value = self.text(key)
        if value not in {None, "true", "false"}:
            raise malformed(f"Invalid boolean: {value}", param=self.name(key))
        return None if value is None else value == "true"

    def inner(self, key: str) -> "Params":
        """The parameters in `key[…]`; empty where there are none."""
        self._unread.discard(key)
        value = self._tree.get(key) or {}
        if not isinstance(value, dict):
            raise malformed("Invalid object", param=self.name(key))
        found = Params(value, self.name(key))
        self._inner.append(found)
        return found

    def items(self, key: str) -> list["Params"]:
        """Objects in `key[0][…]`, `key[1][…]`."""
        every = self.inner(key)
        return [every.inner(number) for number in every.numbers()]

    def texts(self, key: str) -> list[str]:
        every = self.inner(key)
        return [every.need(number) for number in every.numbers()]

    def numbers(self) -> list[str]:
        if not all(key.isdigit() for key in self._tree):
            raise malformed("Invalid array", param=self._path)
        return sorted(self._tree, key=int)

    def given(self, *keys: str) -> Json:
        """The texts among `keys` that were sent; an empty one is null."""
        return {key: self.text(key) for key in keys if self.has(key)}

    def free(self, key: str) -> Any:
        """Whatever stands there, unchecked: options of methods that nothing here depends on."""
        self._unread.discard(key)
        return self._tree.get(key)

    def address(self, key: str = "address") -> Json | None:
        if not self.has(key):
            return None
        inner = self.inner(key)
        return {part: inner.text(part) for part in ("city", "country", "line1", "line2", "postal_code", "state")}

    def metadata(self, before: Json | None = None, key: str = "metadata") -> dict[str, str]:
        """`before` with the pairs sent; an empty value removes its key, an empty whole removes all."""
        self._unread.discard(key)
        sent = self._tree.get(key)
        if sent == "":
            return {}
        if sent is not None and not isinstance(sent, dict):
            raise malformed("Invalid object", param=self.name(key))
        merged: Tree = {**(before or {}), **(sent or {})}
        for word, value in merged.items():
            if not isinstance(value, str) or len(word) > METADATA_KEY_CHARS_MAX or len(value) > METADATA_VALUE_CHARS_MAX:
                raise malformed(
                    f"Metadata keys have at most {METADATA_KEY_CHARS_MAX} characters and values {METADATA_VALUE_CHARS_MAX}.",
                    param=f"{self.name(key)}[{word}]",
                )
        if len(merged) > METADATA_KEYS_MAX:
            raise malformed(f"Metadata has at most {METADATA_KEYS_MAX} keys.", param=self.name(key))
        return {word: value for word, value in merged.items() if value != ""}

    def unread(self) -> list[str]:
        return sorted(self.name(key) for key in self._unread) + [name for inner in self._inner for name in inner.unread()]

    def end(self) -> None:
        """Raises for parameters that nobody asked for."""
        if names := self.unread():
            many = f"Received unknown parameter{'s' * (len(names) > 1)}: {', '.join(names)}"
            raise malformed(many, param=names[0], code="parameter_unknown")


def window(p: Params, key: str = "created") -> tuple[int, int]:
    """A filter on a time as a half-open range; an exact time is a second long."""
    if not isinstance(p.free(key), dict):
        at = p.integer(key)
        return (0, 1 << 62) if at is None else (at, at + 1)
    inner = p.inner(key)
    start, after = inner.integer("gte"), inner.integer("gt")
    until, before = inner.integer("lte"), inner.integer("lt")
    low = max(start or 0, after + 1 if after is not None else 0)
    high = min(until + 1 if until is not None else 1 << 62, before if before is not None else 1 << 62)
    return low, high


def dated(p: Params, rows: list[Json], key: str = "created", field: str = "") -> list[Json]:
    """Those of `rows` whose time (`field`, where it is not named like the filter) is in the range that the request asks for."""
    low, high = window(p, key)
    return [row for row in rows if low <= (row[field or key] or 0) < high]


def page(p: Params, rows: list[Json], url: str) -> Json:
    """One page of `rows`, which stand newest first."""
    limit = p.integer("limit")
    after, before = p.text("starting_after"), p.text("ending_before")
    p.end()
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise malformed("Invalid limit: must be between 1 and 100", param="limit")
    size, ids = limit or 10, [row["id"] for row in rows]
    if unknown := [id for id in (after, before) if id and id not in ids]:
        raise StripeError(
            400,
            "invalid_request_error",
            f"No such object: '{unknown[0]}'",
            code="resource_missing",
            param="starting_after" if after else "ending_before",
        )
    if before:
        rows = rows[: ids.index(before)]
        return {"object": "list", "url": url, "has_more": len(rows) > size, "data": rows[-size:]}
    rows = rows[ids.index(after) + 1 :] if after else rows
    return {"object": "list", "url": url, "has_more": len(rows) > size, "data": rows[:size]}
