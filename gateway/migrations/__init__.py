"""The whole schema: money first, because foreign keys may point from gateway to billing and never back."""

from pathlib import Path

import billing

FOLDERS = (Path(billing.__file__).parent / "migrations", Path(__file__).parent)
