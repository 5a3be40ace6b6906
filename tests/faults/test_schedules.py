"""SIGKILL schedules: processes of a cell die at seeded moments under load; nothing acknowledged is lost, nothing charged twice.

A schedule is one seeded kill of one or more processes under a seeded load, the restart, the recovery and the checks. Three
cells live through all of them side by side, because a schedule mostly waits for leases to run out. `TALLYLIGHT_TEST_SCHEDULES`
says how many (200) and `TALLYLIGHT_TEST_SEED` where to start; a failure says how to run its seed alone. `TALLYLIGHT_TEST_REPORT`
names a file for the figures (docs/results/faults.md); beside it, every schedule's outcome is appended to FILE.jsonl, and the figures
are of all that stand there.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.faults.harness import open_cell
from tests.faults.schedule import Outcome, Schedules, summary

SCHEDULES = int(os.environ.get("TALLYLIGHT_TEST_SCHEDULES", "200"))
SEED = int(os.environ.get("TALLYLIGHT_TEST_SEED", "20260101"))
LANES = min(3, SCHEDULES)


async def test_nothing_acknowledged_is_lost_and_nothing_is_charged_twice(tmp_path: Path) -> None:
    seeds = iter(range(SEED, SEED + SCHEDULES))
    async with asyncio.TaskGroup() as lanes:
        running = [lanes.create_task(_lane(tmp_path / f"lane-{number}", seeds)) for number in range(LANES)]
    outcomes = [outcome for lane in running for outcome in lane.result()]
    if report := os.environ.get("TALLYLIGHT_TEST_REPORT"):
        gathered = Path(report).with_suffix(".jsonl")
        with gathered.open("ab") as lines:
            lines.write(msgspec.json.Encoder().encode_lines(outcomes))
        outcomes = msgspec.json.Decoder(Outcome).decode_lines(gathered.read_bytes())
        Path(report).write_text(summary(outcomes) + "\n", encoding="utf-8")
    print(summary(outcomes))


async def _lane(folder: Path, seeds: Iterator[int]) -> list[Outcome]:
    folder.mkdir()
    async with open_cell(folder, lease_ttl_s=1.0, heartbeat_s=0.25, poll_s=0.1, attempts_max=10) as cell:
        schedules = Schedules(cell)
        for seed in seeds:
            try:
                await schedules.run(seed)
            except Exception:
                print(cell.tails())
                print(
                    f"run it alone: TALLYLIGHT_TEST_SEED={seed} TALLYLIGHT_TEST_SCHEDULES=1 pytest tests/faults/test_schedules.py"
                )
                raise
        await schedules.audit()
        return schedules.outcomes
