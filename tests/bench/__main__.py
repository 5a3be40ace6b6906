"""`python -m tests.bench NAME [--runs N] [--seconds S] [--only w1.c64]`."""

import argparse

from gateway.telemetry import logs
from tests.bench import admission, fleet, latency, poll, scheduler

BENCHES = {"admission": admission.run, "fleet": fleet.run, "latency": latency.run, "poll": poll.run, "scheduler": scheduler.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Prints one JSON object per figure.")
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("--runs", type=int, default=5, help="how often each measurement is repeated (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load is measured (default 3)")
    parser.add_argument("--only", default="", help="one scenario: w1, w2, w1.c64 …")
    asked = parser.parse_args()
    logs.configure("warning")
    BENCHES[asked.name](asked.runs, asked.seconds, asked.only)


if __name__ == "__main__":
    main()
