"""`make mutate`: breaks the arithmetic and the verbs of money in small ways, and lists the breaks that no test notices.

The results go on where they stopped: an interrupted run is continued, and a changed function is tried again. `make mutate
ARGS='"billing.ledger.allocate*"'` tries some. What survives, and why, stands in docs/results/mutation.md.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.local import postgres
from tests.conftest import answers, free_port, make_template

TEMPLATE = "tallylight_mutation"
"""Migrated once: each mutant is tried by a pytest of its own."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tallylight-mutation-") as folder:
        cluster = postgres.prepare(Path(folder) / "db", free_port(), durable=False)
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(cluster.command(), cwd=cluster.data, stdout=log, stderr=log)
        try:
            dsn = cluster.dsn_of("postgres")
            asyncio.run(answers(dsn))
            asyncio.run(make_template(dsn, TEMPLATE))
            given = {"TALLYLIGHT_TEST_DSN": dsn, "TALLYLIGHT_TEST_TEMPLATE": TEMPLATE, "TALLYLIGHT_TEST_HISTORIES": "3"}
            environment = {**os.environ, **given}
            tool = [sys.executable, "-m", "mutmut"]
            done = subprocess.run([*tool, "run", "--max-children", "2", *sys.argv[1:]], env=environment, check=False)
            subprocess.run([*tool, "results"], env=environment, check=False)
            return done.returncode
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=20)


if __name__ == "__main__":
    sys.exit(main())
