"""`python -m tests.bench NAME [--runs N] [--seconds S] [--only w1.c64] [--rows N]`."""

import argparse

from gateway.telemetry import logs
from tests.bench import admission, latency, poll, usage

BENCHES = {"admission": admission.run, "latency": latency.run, "poll": poll.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Prints one JSON object per figure.")
    parser.add_argument("name", choices=sorted([*BENCHES, "usage"]))
    parser.add_argument("--runs", type=int, default=5, help="how often each measurement is repeated (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load is measured (default 3)")
    parser.add_argument("--only", default="", help="one scenario: w1, w2, w1.c64 …")
    parser.add_argument("--rows", type=int, default=1_000_000, help="usage: how many jobs are reported on (default 1 million)")
    asked = parser.parse_args()
    logs.configure("warning")
    if asked.name == "usage":
        usage.run(asked.runs, asked.rows)
        return
    BENCHES[asked.name](asked.runs, asked.seconds, asked.only)


if __name__ == "__main__":
    main()
