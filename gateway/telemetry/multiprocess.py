"""How the workers of one `serve` show one set of metrics: each writes files into a folder, any of them merges all."""

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def share_metrics(directory: str = "") -> Generator[Path]:
    """Let the workers started inside share their metrics in `directory`, one `serve` per folder; empty: a temporary one.

    Raises RuntimeError when `prometheus_client` is already imported, which reads the variable at import.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("share_metrics must run before anything imports prometheus_client")
    with ExitStack() as stack:
        folder = Path(directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="tallylight-metrics-")))
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.db"):  # of an earlier run: counters start at zero with the processes
            left.unlink()
        os.environ[VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            del os.environ[VARIABLE]
