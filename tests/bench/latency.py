"""Latency: from a client's POST to the first word from Triton, one job at a time with a free slot.

`accept` is the POST's round trip; `lease` is the job's started_at − created_at by the database's clock; `word` is the dispatcher's
own metric `tallylight_triton_start_seconds`, from asking Triton to its first message, and so a little more than its start: a
histogram, of which the upper bound of the bucket is given. There is no yardstick: the goals are times.
"""

import re
import sys
import tempfile
from pathlib import Path
from statistics import quantiles

import httpx

from billing.kit.query import Conn
from tests.bench.figures import figure
from tests.bench.processes import database, free_port
from tests.stack import Stack, running_stack

SAMPLES = 200
TINY = {"model": "testcard", "prompt": "x", "frames": 8, "fps": 16, "size": "64x64"}


def run(runs: int, seconds: float, only: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder,
        database() as (dsn, _),
        running_stack(dsn, Path(folder), roles=("api", "clerk"), poll_s=1.0) as stack,
    ):
        port, dispatcher = free_port(), stack.processes["dispatch"]
        dispatcher.argv = [sys.executable, "-m", "gateway", "dispatch"]  # the command shows its metrics
        dispatcher.environment["TALLYLIGHT_METRICS_PORT"] = str(port)
        stack.start("dispatch")
        accepts, leases, words = _measure(stack, runs, f"http://127.0.0.1:{port}/metrics")
    for name, values in (("accept", accepts), ("lease", leases)):
        figure("latency", f"{name}.p50", "ms", [_quantile(one, 50) for one in values])
        figure("latency", f"{name}.p99", "ms", [_quantile(one, 99) for one in values])
    for percent, most in ((50, 25), (99, 100)):
        heard = [_bound(word, percent) for word in words]
        figure("latency", f"word.p{percent}", "ms", heard)
        leased = [_quantile(_sum(a, b), percent) for a, b in zip(accepts, leases, strict=True)]
        totals = [before + after for before, after in zip(leased, heard, strict=True)]
        figure("latency", f"post_to_word.p{percent}", "ms", totals, most=most)


def _measure(stack: Stack, runs: int, metrics: str) -> tuple[list[list[float]], list[list[float]], list[dict[float, float]]]:
    """Milliseconds, a list of samples for each run; of the first words how many came within each bound."""
    accepts: list[list[float]] = []
    leases: list[list[float]] = []
    words: list[dict[float, float]] = []
    customer = stack.customer(amount_micro=10**15)
    with httpx.Client(base_url=stack.base_url, headers=customer.bearer) as client:
        for number in range(runs + 1):
            before = _words(metrics) if number else {}
            made = [_one(client) for _ in range(20 if number == 0 else SAMPLES)]
            if number:  # the first run warms up
                accepts.append([took for _, took in made])
                leases.append(_leases(stack, [job for job, _ in made]))
                words.append({bound: count - before[bound] for bound, count in _words(metrics).items()})
    return accepts, leases, words


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


def _words(metrics: str) -> dict[float, float]:
    """How many first words came within each bound in milliseconds, since the dispatcher began."""
    text = httpx.get(metrics, trust_env=False).raise_for_status().text
    found = re.findall(r'^tallylight_triton_start_seconds_bucket\{le="([^"]+)".*\} ([0-9.]+)$', text, re.MULTILINE)
    return {float(bound) * 1000: float(count) for bound, count in found}


def _bound(words: dict[float, float], percent: int) -> float:
    """The smallest bound that so many came within."""
    return min(bound for bound, count in words.items() if count >= max(words.values()) * percent / 100)


def _quantile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1]
