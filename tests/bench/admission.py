"""Admission: durable accepts per second against a no-op POST of the same bytes on the same server configuration.

An accept is authenticated, priced, held, enqueued and committed with fsync when its 201 arrives. `hot` is one customer, so
one wallet; `many` is a thousand customers in turn.
"""

import tempfile
from pathlib import Path

from tests.bench.client import Plan
from tests.bench.customers import Customer, creates, open_customers
from tests.bench.figures import figure
from tests.bench.processes import Measured, database, http_server, measure, pss_mb, settings, workers

CUSTOMERS = 1000
WARMUP_S = 1.0


def run(runs: int, seconds: float, only: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder, database() as (dsn, postgres_pid):
        customers = open_customers(dsn, CUSTOMERS)
        for count in (1, 2):
            if only and not only.startswith(f"w{count}"):
                continue
            ours, theirs = settings(dsn, Path(folder), workers=count), settings(dsn, Path(folder), workers=count)
            with http_server("gateway", ours) as gateway_pid, http_server("noop", theirs) as noop_pid:
                for connections in (64, 256):
                    if only in ("", f"w{count}", f"w{count}.c{connections}"):
                        bench = _Scenario(ours.port, theirs.port, gateway_pid, noop_pid, postgres_pid, connections, seconds)
                        bench.report(f"w{count}.c{connections}", customers, runs)
                figure("admission", f"pss.w{count}", "MB", [max(map(pss_mb, workers(gateway_pid)))], most=150)


class _Scenario:
    """One number of workers and connections."""

    def __init__(
        self, port: int, noop_port: int, pid: int, noop_pid: int, postgres_pid: int, connections: int, seconds: float
    ) -> None:
        self._port, self._noop_port, self._pid, self._noop_pid = port, noop_port, pid, noop_pid
        self._postgres_pid, self._connections, self._seconds = postgres_pid, connections, seconds

    def _run(self, port: int, pid: int, path: str, customers: list[Customer]) -> Measured:
        plan = Plan("127.0.0.1", port, self._connections, WARMUP_S, self._seconds, creates(customers, port, path))
        return measure(plan, pid, self._postgres_pid)

    def report(self, name: str, customers: list[Customer], runs: int) -> None:
        noops: list[Measured] = []
        hots: list[Measured] = []
        manys: list[Measured] = []
        for _ in range(runs):
            noops.append(self._run(self._noop_port, self._noop_pid, "/noop", customers))
            hots.append(self._run(self._port, self._pid, "/v1/jobs", customers[:1]))
            manys.append(self._run(self._port, self._pid, "/v1/jobs", customers))
        noop_per_s = [one.per_s for one in noops]
        figure("admission", f"hot.{name}", "accepts/s", [m.per_s for m in hots], yardsticks=noop_per_s, least=0.5)
        figure("admission", f"many.{name}", "accepts/s", [m.per_s for m in manys], yardsticks=noop_per_s, least=0.5)
        figure(
            "admission", f"hot_over_many.{name}", "accepts/s", [m.per_s for m in hots],
            yardsticks=[m.per_s for m in manys], least=1.0,
        )  # fmt: skip
        for wallets, each in (("hot", hots), ("many", manys)):
            cpu = [m.server_us() for m in each]
            figure("admission", f"server_cpu.{wallets}.{name}", "µs/request", cpu, yardsticks=[m.server_us() for m in noops])
            figure("admission", f"postgres_cpu.{wallets}.{name}", "µs/request", [m.postgres_us() for m in each])
            figure("admission", f"p50.{wallets}.{name}", "ms", [m.load.p50_ms for m in each])
            figure("admission", f"p99.{wallets}.{name}", "ms", [m.load.p99_ms for m in each])
            figure("admission", f"client_cpu.{wallets}.{name}", "cores", [m.load.cpu_s / m.load.seconds for m in each])
