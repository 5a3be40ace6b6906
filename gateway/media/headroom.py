"""Is there room for another result? Asked before work is accepted, because nobody pays for a video that cannot be kept."""

import shutil
from pathlib import Path
from time import monotonic

_TTL_S = 1.0


class Headroom:
    """Free space under a folder, looked at once a second at most; a store elsewhere (`root` None) has all there is."""

    def __init__(self, root: Path | None, free_min_bytes: int) -> None:
        self._root, self._free_min_bytes = root, free_min_bytes
        self._short, self._looked_at = False, monotonic() - _TTL_S

    def short(self) -> bool:
        now = monotonic()
        if self._root is not None and now - self._looked_at >= _TTL_S:
            self._short, self._looked_at = shutil.disk_usage(self._root).free < self._free_min_bytes, now
        return self._short
