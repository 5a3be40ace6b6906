"""Editions of the catalogue; pure."""

from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from gateway.fleet.catalogue import CatalogueError, ModelRow
from gateway.fleet.chips import Accelerator, Catalogue, Chips, Resolution, Speed, chips_of

Source = Literal["files", "operator"]
Row = TypeVar("Row", ModelRow, Accelerator, Speed)

NO_FOLDER = Path()
"""Errors about an edition name models.toml, accelerators.toml and speeds.toml without a folder."""


class Without(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows of the files that do not count, by name; a speed by its model, accelerator and resolution."""

    models: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    speeds: tuple[tuple[str, str, Resolution], ...] = ()


class Edits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What operators want otherwise than the files: whole rows as in the files, each in the place of the one with its key or
    beside the others, and rows that do not count. Nothing at all: the files alone.
    """

    default_model: str = ""
    models: tuple[ModelRow, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    speeds: tuple[Speed, ...] = ()
    without: Without = Without()


class EditionRow(msgspec.Struct, frozen=True):
    """As it is stored; `files` and `edits` are JSON."""

    version: int
    files: bytes
    edits: bytes
    source: Source
    reason: str
    made_at: datetime


class Edition(msgspec.Struct, frozen=True):
    """One state of the catalogue. It never changes; the newest one is in force."""

    version: int
    files: Catalogue
    edits: Edits
    source: Source
    reason: str
    made_at: datetime

    @property
    def catalogue(self) -> Catalogue:
        return merged(self.files, self.edits)


_files = msgspec.json.Decoder(Catalogue)
_edits = msgspec.json.Decoder(Edits)


def edition_of(row: EditionRow) -> Edition:
    """Raises CatalogueError for one that another version of the gateway has written and this one cannot read."""
    try:
        files, edits = _files.decode(row.files), _edits.decode(row.edits)
    except msgspec.DecodeError as error:
        raise CatalogueError(f"edition {row.version}: {error}") from error
    return Edition(row.version, files, edits, row.source, row.reason, row.made_at)


def checked(files: Catalogue, edits: Edits) -> Chips:
    """The catalogue that these two make. Raises CatalogueError naming the row and what is wrong with it."""
    return chips_of(merged(files, edits), NO_FOLDER)


def merged(files: Catalogue, edits: Edits) -> Catalogue:
    """Raises CatalogueError for edits that say two things of one row."""
    without = edits.without
    return Catalogue(
        edits.default_model or files.default_model,
        _rows("models", files.models, edits.models, [(name,) for name in without.models]),
        _rows("accelerators", files.accelerators, edits.accelerators, [(name,) for name in without.accelerators]),
        _rows("speeds", files.speeds, edits.speeds, list(without.speeds)),
    )


def _rows(table: str, files: tuple[Row, ...], edits: tuple[Row, ...], without: list[tuple[str, ...]]) -> tuple[Row, ...]:
    """In the order of the files, what is new last."""
    rows = {_key(one): one for one in files if _key(one) not in without}
    seen: set[tuple[str, ...]] = set(without)
    for one in edits:
        if _key(one) in seen:
            raise CatalogueError(f"{table}.toml: {table} {' × '.join(_key(one))}: is listed twice")
        seen.add(_key(one))
        rows[_key(one)] = one
    return tuple(rows.values())


def _key(row: ModelRow | Accelerator | Speed) -> tuple[str, ...]:
    return (row.model, row.accelerator, row.resolution) if isinstance(row, Speed) else (row.name,)
