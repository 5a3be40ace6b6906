"""Current: the catalogue as one process has it, kept in line with the newest edition while it runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from billing.kit.batch import TRANSIENT
from billing.kit.listen import Wake
from billing.kit.query import Conn, Pool
from gateway.fleet.catalogue import PACKAGED, CatalogueError, ModelRow
from gateway.fleet.chips import Catalogue, chips_of, read_catalogue
from gateway.fleet.costs import ComputeCosts
from gateway.fleet.editions.model import NO_FOLDER, Edition
from gateway.fleet.editions.publish import begin, publish_files
from gateway.fleet.editions.read import newest
from gateway.video import ModelLimits

log = structlog.get_logger(__name__)

_LOOK_S = 2.0
_FILES = ("models.toml", "accelerators.toml", "speeds.toml")


class Current:
    """Its mappings stay the same objects when another edition comes, so that whoever was handed one follows.

    `rows`: every model; `models`: those that can be asked for; `steps` and `triton_models`: of every model, also of one that has
    gone while something of it may still run.
    """

    def __init__(self, folder: str) -> None:
        """Begins with the files of `folder`, empty for the packaged ones. Raises CatalogueError."""
        self._home = Path(folder) if folder else PACKAGED
        self._folder = folder
        self._stamped: tuple[tuple[int, int], ...] = _stamp(self._home)
        self._files = self._published = read_catalogue(folder)
        self._complaint = ""
        self.wake = Wake()
        self.version = 0
        self.rows: dict[str, ModelRow] = {}
        self.models: dict[str, ModelLimits] = {}
        self.steps: dict[str, int] = {}
        self.triton_models: dict[str, str] = {}
        self.chips = chips_of(self._files, self._home)
        self.costs = ComputeCosts.of(self.chips)
        self._show(self._files)

    async def begin(self, conn: Conn) -> None:
        """Takes over the edition in force, or makes the first one of the files. Raises CatalogueError."""
        self._take(await begin(conn, self._files))

    async def follow(
        self, pool: Pool, *, leading: Callable[[], bool] = lambda: False, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Returns never. Looks when `wake` rings and every few seconds; calls `changed` after each new edition."""
        while True:
            seen = self.wake.rung
            try:
                async with pool.acquire(timeout=5) as conn:
                    if await self.look(conn, leading=leading()):
                        changed()
            except TRANSIENT as error:
                log.warning("catalogue_not_read", error=type(error).__name__)
            await self.wake.wait(seen, _LOOK_S)

    async def look(self, conn: Conn, *, leading: bool) -> bool:
        """Whether there is a newer edition, which is now taken over. The leader's files count: where they are not those of the
        edition in force, it makes one of them.
        """
        before, complaint = self.version, ""
        try:
            found = await newest(conn, self.version)
            if found is not None:
                self._take(found)
            if leading:
                self._reread()
                if self._files != self._published or not self.version:
                    self._take(await publish_files(conn, self._files))
        except CatalogueError as error:  # this process goes on with what it has
            complaint = str(error)
        if complaint and complaint != self._complaint:
            log.warning("catalogue_refused", folder=str(self._home), reason=complaint)
        self._complaint = complaint
        return self.version != before

    def _reread(self) -> None:
        """Takes over files that have changed. Raises CatalogueError, until they are sound."""
        stamp = _stamp(self._home)
        if stamp != self._stamped:
            files = read_catalogue(self._folder)
            chips_of(files, self._home)
            self._files, self._stamped = files, stamp

    def _take(self, edition: Edition) -> None:
        """Raises CatalogueError, before anything changes."""
        catalogue = edition.catalogue
        self.chips = chips_of(catalogue, NO_FOLDER)
        self.version, self._published = edition.version, edition.files
        self.costs.follow(self.chips)
        self._show(catalogue)
        log.info("catalogue", edition=edition.version, source=edition.source, models=len(self.rows))

    def _show(self, catalogue: Catalogue) -> None:
        self.default_model = catalogue.default_model
        self.rows.clear()
        self.rows.update({model.name: model for model in catalogue.models})
        self.models.clear()
        self.models.update(catalogue.by_name())
        self.steps.update({model.name: model.steps_default for model in catalogue.models})
        self.triton_models.update({model.name: model.triton_model for model in catalogue.models})


def _stamp(home: Path) -> tuple[tuple[int, int], ...]:
    """Changes when a file does. A file that is missing for a moment, while it is replaced, is one more change."""
    stamps: list[tuple[int, int]] = []
    for name in _FILES:
        try:
            found = (home / name).stat()
        except OSError:
            stamps.append((0, 0))
        else:
            stamps.append((found.st_mtime_ns, found.st_size))
    return tuple(stamps)
