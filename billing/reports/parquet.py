"""Rows as Parquet. pyarrow is an extra: whoever does not want the files need not install it."""

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar, get_type_hints

import msgspec

from billing.errors import ReportInvalid

Row = TypeVar("Row", bound=msgspec.Struct)


class _Sink:
    """A file that only grows; what was written waits until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: Any) -> int:  # noqa: ANN401 – any buffer
        self._parts.append(bytes(part))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing is kept back."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


async def write_parquet(row: type[Row], pages: AsyncIterator[Sequence[Row]], write: Callable[[bytes], Awaitable[None]]) -> None:
    """One row group per page. Ids and JSON are strings, times are UTC. Raises ReportInvalid where pyarrow is not installed."""
    try:
        pa: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ReportInvalid("parquet needs pyarrow: pip install 'tallylight[reports]'", "format") from error
    schema: Any = pa.schema([pa.field(name, _type(pa, hint)) for name, hint in get_type_hints(row).items()])
    sink = _Sink()
    with parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        async for page in pages:
            arrays = [
                pa.array([_plain(getattr(line, name)) for line in page], kind)
                for name, kind in zip(schema.names, schema.types, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            await write(sink.take())
    await write(sink.take())


def _type(pa: Any, hint: Any) -> Any:  # noqa: ANN401 – pyarrow has no types
    kinds = getattr(hint, "__args__", (hint,))
    if int in kinds:
        return pa.int64()
    return pa.timestamp("us", tz="UTC") if datetime in kinds else pa.string()


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | str | datetime | None) else str(value)
