"""`python -m tests.bench NAME [--runs N] [--seconds S] [--only w1.c64] [--rows N]`."""

import argparse

from gateway.telemetry import logs
from tests.bench import access, admission, fleet, latency, ledger, poll, revocation, scheduler, usage

BENCHES = {
    "access": access.run,
    "admission": admission.run,
    "fleet": fleet.run,
    "latency": latency.run,
    "poll": poll.run,
    "revocation": revocation.run,
    "scheduler": scheduler.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Prints one JSON object per figure.")
    parser.add_argument("name", choices=sorted([*BENCHES, "ledger", "usage"]))
    parser.add_argument("--runs", type=int, default=5, help="how often each measurement is repeated (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load is measured (default 3)")
    parser.add_argument("--only", default="", help="one scenario: w1, w2, w1.c64 …")
    parser.add_argument(
        "--rows", type=int, default=0, help="ledger: transfers of history (0); usage: jobs to report on (1 million)"
    )
    asked = parser.parse_args()
    logs.configure("warning")
    if asked.name == "ledger":
        ledger.run(asked.runs, asked.seconds, asked.only, asked.rows)
        return
    if asked.name == "usage":
        usage.run(asked.runs, asked.rows or 1_000_000)
        return
    BENCHES[asked.name](asked.runs, asked.seconds, asked.only)


if __name__ == "__main__":
    main()
