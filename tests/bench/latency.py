"""Latency: from a client's POST to the moment its job is leased for Triton, one job at a time with a free slot.

`accept` is the POST's round trip; `lease` is the job's started_at − created_at by the database's clock. The request to Triton
leaves the dispatcher in the turn of its loop after the lease was committed; what the model then needs to say its first word is
the gateway's own metric `tallylight_triton_start_seconds`. There is no yardstick: the goals are times.
"""

import re
import tempfile
from pathlib import Path
from statistics import quantiles

import httpx

from billing.kit.query import Conn
from tests.bench.figures import figure
from tests.bench.processes import database
from tests.stack import Stack, running_stack

SAMPLES = 200
TINY = {"model": "testcard", "prompt": "x", "frames": 8, "fps": 16, "size": "64x64"}


def run(runs: int, seconds: float, only: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder,
        database() as (dsn, _),
        running_stack(dsn, Path(folder), poll_s=1.0) as stack,
    ):
        accepts, leases = _measure(stack, runs)
    for name, values in (("accept", accepts), ("lease", leases)):
        figure("latency", f"{name}.p50", "ms", [_quantile(one, 50) for one in values])
        figure("latency", f"{name}.p99", "ms", [_quantile(one, 99) for one in values])
    figure(
        "latency", "post_to_lease.p50", "ms", [_quantile(_sum(a, b), 50) for a, b in zip(accepts, leases, strict=True)], most=25
    )
    figure(
        "latency", "post_to_lease.p99", "ms", [_quantile(_sum(a, b), 99) for a, b in zip(accepts, leases, strict=True)], most=100
    )


def _measure(stack: Stack, runs: int) -> tuple[list[list[float]], list[list[float]]]:
    """Milliseconds, a list of samples for each run."""
    accepts: list[list[float]] = []
    leases: list[list[float]] = []
    customer = stack.customer(amount_micro=10**15)
    with httpx.Client(base_url=stack.base_url, headers=customer.bearer) as client:
        for number in range(runs + 1):
            made = [_one(client) for _ in range(20 if number == 0 else SAMPLES)]
            if number:  # the first run warms up
                accepts.append([took for _, took in made])
                leases.append(_leases(stack, [job for job, _ in made]))
    return accepts, leases


def _one(client: httpx.Client) -> tuple[str, float]:
    """A job that has ended, so that the next one finds its slot free, and how long its acceptance took."""
    answer = client.post("/v1/jobs", json=TINY).raise_for_status()
    took_ms = answer.elapsed.total_seconds() * 1000
    job = answer.json()["id"]
    ended = client.get(f"/v1/jobs/{job}", headers={"prefer": "wait=30"}).json()
    assert ended["state"] == "succeeded", ended
    return job, took_ms


def _leases(stack: Stack, jobs: list[str]) -> list[float]:
    async def read(conn: Conn) -> list[float]:
        rows = await conn.fetch(
            "SELECT extract(epoch FROM started_at - created_at)::float8 * 1000 AS ms FROM gateway.job WHERE id = ANY($1::uuid[])",
            [re.sub("^job_", "", job) for job in jobs],
        )
        return [row["ms"] for row in rows]

    return stack.database(read)


def _sum(first: list[float], second: list[float]) -> list[float]:
    """Of sorted samples: the slowest acceptance is added to the slowest lease, which is never too kind."""
    return [a + b for a, b in zip(sorted(first), sorted(second), strict=True)]


def _quantile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]
