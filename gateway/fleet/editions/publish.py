"""Publish: a new edition, because the files are others or an operator wants something else; checked whole before."""

import msgspec

from billing.kit.query import Conn
from gateway.fleet.catalogue import CatalogueError
from gateway.fleet.chips import Catalogue
from gateway.fleet.editions import sql
from gateway.fleet.editions.model import Edition, Edits, Source, checked, edition_of
from gateway.fleet.editions.read import newest

_TRIES = 5
_REASON_MAX = 500
_NOTHING = Edits()
_encode = msgspec.json.Encoder().encode


async def begin(conn: Conn, files: Catalogue) -> Edition:
    """The newest edition; the first one, of these files, where there is none yet. Raises CatalogueError."""
    return await newest(conn) or await publish_files(conn, files)


async def publish_files(conn: Conn, files: Catalogue) -> Edition:
    """The edition in which the files say this, with the edits there are on top; a new one if need be.

    Raises CatalogueError, and nothing is written, where these files and the edits do not go together.
    """
    for _ in range(_TRIES):
        before = await newest(conn)
        if before is not None and before.files == files:
            return before
        made = await _make(conn, before, files, before.edits if before else _NOTHING, ("files", ""))
        if made is not None:
            return made
    raise CatalogueError("the catalogue is being changed again and again; try later")


async def edit(conn: Conn, before: Edition, edits: Edits, reason: str) -> Edition | None:
    """These edits, instead of any there were. None where `before` is not in force any more.

    Raises CatalogueError, and nothing is written, for what no catalogue can say.
    """
    if len(reason) > _REASON_MAX:
        raise CatalogueError(f"reason: at most {_REASON_MAX} characters")
    return await _make(conn, before, before.files, edits, ("operator", reason))


async def _make(conn: Conn, before: Edition | None, files: Catalogue, edits: Edits, why: tuple[Source, str]) -> Edition | None:
    names = {model.name for model in checked(files, edits).models}
    gone = sorted({model.name for model in before.catalogue.models} - names) if before else []
    if gone and (needed := await sql.UNFINISHED.all(conn, gone)):
        raise CatalogueError(
            f"models.toml: models {needed[0].name}: jobs wait for it or run on it; "
            "set `offered = false` and take it out when they have ended"
        )
    version = before.version + 1 if before else 1
    made = await sql.MAKE.maybe(conn, version, _encode(files), _encode(edits), *why)
    return None if made is None else edition_of(made)
