"""Every metric, on one page.

Names: `tallylight_…` with the unit last. Call an accessor with its labels in order and use the child it returns:
`attempts("succeeded").inc()`. Children are kept, because finding one anew costs 2 µs.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.telemetry.multiprocess import VARIABLE

CONTENT_TYPE = CONTENT_TYPE_LATEST

if (VARIABLE in os.environ) == (values.ValueClass is values.MutexValue):
    raise RuntimeError(f"{VARIABLE} changed after prometheus_client was imported; use share_metrics before importing metrics")

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


def _by(metric: Metric) -> Callable[..., Metric]:
    return cache(metric.labels)


http_requests = _by(
    Histogram(
        "tallylight_http_request_seconds",
        "Time to answer a request; its count is the number of requests. route: template or 'unmatched'; status: 2xx … 5xx.",
        ["route", "method", "status"],
        buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    )
)
"""(route, method, status)"""

admissions = _by(Counter("tallylight_admissions", "Requests to run a job, by what became of them.", ["outcome"]))
"""(outcome)"""

webhook_tries = _by(
    Counter(
        "tallylight_webhook_tries",
        "Tries to deliver a webhook: delivered, refused (answered otherwise), unanswered.",
        ["outcome"],
    )
)
"""(outcome)"""

flush_rows = _by(
    Histogram(
        "tallylight_flush_rows",
        "Requests written by one group commit.",
        ["coalescer"],
        buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    )
)
"""(coalescer)"""

flush_seconds = _by(
    Histogram(
        "tallylight_flush_seconds",
        "Time of one group commit, from taking a connection to the durable answer.",
        ["coalescer"],
        buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    )
)
"""(coalescer)"""

unlogged_requests = Counter("tallylight_unlogged_requests", "Calls that the request log had no room for.")

# Every process reads the same table, so the newest answer of a living process is the answer.
jobs = _by(Gauge("tallylight_jobs", "Jobs in each state.", ["state"], multiprocess_mode="livemostrecent"))
"""(state)"""

attempts = _by(Counter("tallylight_attempts", "Attempts that ended, by how.", ["outcome"]))
"""(outcome)"""

# `pool` is an accelerator as the catalogue calls it, `model` the one that was asked for, `outcome` an attempt's. What these four
# say together – the cost of a generated second, the margin – stands in README.md.
generated_seconds = _by(Counter("tallylight_generated_seconds", "Seconds of video counted from stored files.", ["pool", "model"]))
"""(pool, model)"""

device_seconds = _by(
    Counter("tallylight_device_seconds", "Time of devices that attempts took, however they ended.", ["pool", "model", "outcome"])
)
"""(pool, model, outcome)"""

attempt_cost_micro_usd = _by(
    Counter(
        "tallylight_attempt_cost_micro_usd",
        "What attempts cost, in millionths of a dollar, as the ledger accrues it when their job ends.",
        ["pool", "model", "outcome"],
    )
)
"""(pool, model, outcome)"""

revenue_micro = _by(
    Counter(
        "tallylight_revenue_micro",
        "Money earned by deliveries, in millionths of the currency unit: promotional money is none, prepaid seconds are some.",
        ["pool", "model", "currency"],
    )
)
"""(pool, model, currency)"""

charged_micro = _by(Counter("tallylight_charged_micro", "Money charged, in millionths of the currency unit.", ["currency"]))
"""(currency)"""

queue_wait_seconds = _by(
    Histogram(
        "tallylight_queue_wait_seconds",
        "Time from a job's admission to its first lease.",
        ["model"],
        buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 172800),
    )
)
"""(model)"""

triton_start_seconds = _by(
    Histogram(
        "tallylight_triton_start_seconds",
        "Time from sending a request to a replica to its first answer.",
        ["replica"],
        buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
    )
)
"""(replica)"""

swaps = _by(Counter("tallylight_model_swaps", "Models loaded in the place of others, by how it ended.", ["outcome"]))
"""(outcome)"""

swap_seconds = _by(
    Histogram(
        "tallylight_model_swap_seconds",
        "Time from the decision to load a model until it was ready, what had to be unloaded first included.",
        ["model"],
        buckets=(0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640),
    )
)
"""(model)"""

# Summed over processes, so that anything but 1 in a cell is an alarm.
leader = _by(Gauge("tallylight_leader", "1 in the process that holds the lock of a role.", ["role"], multiprocess_mode="livesum"))
"""(role)"""

pool_in_use = Gauge("tallylight_pool_in_use", "Database connections taken from the pool.", multiprocess_mode="livesum")


def exposition() -> bytes:
    """Return the metrics of this process, or of all workers that share a folder, in CONTENT_TYPE."""
    return generate_latest(_registry())


@contextmanager
def serve_metrics(port: int, host: str = "127.0.0.1") -> Generator[None]:
    """Answer GET /metrics on `port` from a thread; port 0: do nothing. Raises OSError when the port is taken."""
    if not port:
        yield
        return
    server, thread = start_http_server(port, host, _registry())
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registry() -> CollectorRegistry:
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return REGISTRY
    _mark_dead_processes(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)
    return registry


def mark_process_dead(pid: int) -> None:
    """Drop the gauges of a worker that has ended; what it counted stays. Without shared metrics: nothing to do."""
    folder = os.environ.get(VARIABLE)
    for file in Path(folder).glob(f"gauge_live*_{pid}.db") if folder else ():
        file.unlink(missing_ok=True)


def _mark_dead_processes(folder: Path) -> None:
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)
