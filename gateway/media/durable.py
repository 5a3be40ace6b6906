"""Local writes that survive a power cut and are never seen half done. Blocking: run in a thread.

The local store of obstore 0.12 renames into place but never syncs (seen with strace), so a power cut right after a
put can leave an empty file under its final name.
"""

import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

_STAGING = ".staging"
_STALE_S = 24 * 3600
_MKDIR_TRIES = 5


def prepare_root(root: Path) -> None:
    """Create the store's folder, and drop what writers that died left in its staging folder over a day ago."""
    staging = root / _STAGING
    staging.mkdir(parents=True, exist_ok=True)
    for part in staging.iterdir():
        if time.time() - part.stat().st_mtime > _STALE_S:
            part.unlink(missing_ok=True)


def write_durably(root: Path, key: str, chunks: Iterable[bytes]) -> None:
    """Write `chunks` under `root`/`key`: staged, synced, renamed into place, and the folders' entries synced.

    Raises OSError; nothing is then under the key that was not there before.
    """
    staged = root / _STAGING / uuid.uuid4().hex
    final = root / key
    try:
        with staged.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        _rename(staged, final)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    # The name is durable once each folder on the way down has its entry on disk.
    for folder in final.parents:
        _sync_folder(folder)
        if folder == root:
            break


def _rename(staged: Path, final: Path) -> None:
    # A concurrent delete may remove a folder that it emptied between our mkdir and our rename.
    for tries_left in reversed(range(_MKDIR_TRIES)):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(final)
        except FileNotFoundError:
            if not tries_left:
                raise
        else:
            return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
