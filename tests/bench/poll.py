"""Poll: status polls per second against a no-op GET on the same server configuration; every poll asks for another job."""

import tempfile
from pathlib import Path

import httpx

from gateway.settings import Settings
from tests.bench.client import Plan
from tests.bench.customers import BODY, Customer, http, open_customers
from tests.bench.figures import figure
from tests.bench.processes import Measured, database, http_server, measure, settings

JOBS = 1000
CUSTOMERS = 50
WARMUP_S = 1.0


def run(runs: int, seconds: float, only: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tallylight-bench-") as folder, database() as (dsn, postgres_pid):
        customers = open_customers(dsn, CUSTOMERS)
        for count in (1, 2):
            if only and not only.startswith(f"w{count}"):
                continue
            ours, theirs = settings(dsn, Path(folder), workers=count), settings(dsn, Path(folder), workers=count)
            with http_server("gateway", ours) as gateway_pid, http_server("noop", theirs) as noop_pid:
                asked = _jobs(ours, customers)
                for connections in (64, 256):
                    if only not in ("", f"w{count}", f"w{count}.c{connections}"):
                        continue
                    noops: list[Measured] = []
                    polls: list[Measured] = []
                    for _ in range(runs):
                        for port, pid, kept, requests in (
                            (theirs.port, noop_pid, noops, [http("GET", "/noop", theirs.port, c.token) for c, _ in asked]),
                            (ours.port, gateway_pid, polls, [http("GET", path, ours.port, c.token) for c, path in asked]),
                        ):
                            plan = Plan("127.0.0.1", port, connections, WARMUP_S, seconds, requests)
                            kept.append(measure(plan, pid, postgres_pid))
                    _report(f"w{count}.c{connections}", polls, noops)


def _jobs(ours: Settings, customers: list[Customer]) -> list[tuple[Customer, str]]:
    """Creates queued jobs; returns the path of each, with its owner."""
    asked: list[tuple[Customer, str]] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{ours.port}", timeout=10, trust_env=False) as client:
        for index in range(JOBS):
            customer = customers[index % len(customers)]
            created = client.post("/v1/jobs", json=BODY, headers={"authorization": f"Bearer {customer.token}"})
            created.raise_for_status()
            asked.append((customer, f"/v1/jobs/{created.json()['id']}"))
    return asked


def _report(name: str, polls: list[Measured], noops: list[Measured]) -> None:
    figure("poll", f"native.{name}", "polls/s", [m.per_s for m in polls], yardsticks=[m.per_s for m in noops], least=0.7)
    cpu = [m.server_us() for m in polls]
    figure("poll", f"server_cpu.{name}", "µs/request", cpu, yardsticks=[m.server_us() for m in noops])
    figure("poll", f"postgres_cpu.{name}", "µs/request", [m.postgres_us() for m in polls])
    figure("poll", f"p50.{name}", "ms", [m.load.p50_ms for m in polls])
    figure("poll", f"p99.{name}", "ms", [m.load.p99_ms for m in polls])
    figure("poll", f"client_cpu.{name}", "cores", [m.load.cpu_s / m.load.seconds for m in polls])
