"""SIGKILL schedules: processes of a cell die at seeded moments under load; nothing acknowledged is lost and nothing is charged twice.

A schedule is one seeded kill of one or more processes under a seeded load, the restart, the recovery and the checks. One cell
lives through all of them. `TALLYLIGHT_TEST_SCHEDULES` says how many (200), `TALLYLIGHT_TEST_SEED` where to start; a failure
names the seed to start from with `TALLYLIGHT_TEST_SCHEDULES=1`.
"""

import os
from pathlib import Path

from tests.faults.harness import open_cell
from tests.faults.schedule import Schedules

SCHEDULES = int(os.environ.get("TALLYLIGHT_TEST_SCHEDULES", "200"))
SEED = int(os.environ.get("TALLYLIGHT_TEST_SEED", "20260101"))


async def test_nothing_acknowledged_is_lost_and_nothing_is_charged_twice(tmp_path: Path) -> None:
    async with open_cell(tmp_path, lease_ttl_s=1.0, heartbeat_s=0.25, poll_s=0.1, attempts_max=10) as cell:
        schedules = Schedules(cell)
        for seed in range(SEED, SEED + SCHEDULES):
            try:
                await schedules.run(seed)
            except BaseException:
                print(f"replay: TALLYLIGHT_TEST_SEED={seed} TALLYLIGHT_TEST_SCHEDULES=1")
                print(cell.tails())
                raise
        await schedules.audit()
        print(schedules.summary())
        if report := os.environ.get("TALLYLIGHT_TEST_REPORT"):
            Path(report).write_text(schedules.summary(), encoding="utf-8")


