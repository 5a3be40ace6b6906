"""Metrics of real processes: merged while they live, kept or dropped rightly when they are gone."""

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
WORKER = """
import sys
from gateway.telemetry import metrics
metrics.admissions("held").inc(2)
metrics.leader("dispatch").set(1)
metrics.jobs("queued").set(7)
metrics.http_requests("/v1/videos", "POST", "2xx").observe(0.003)
print("ready", flush=True)
sys.stdin.read()
"""
SCRAPE = "from gateway.telemetry.metrics import exposition; print(exposition().decode())"
SERVE = """
import socket, sys
from gateway.telemetry import metrics
metrics.attempts("succeeded").inc()
with metrics.serve_metrics(int(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
try: socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
except ConnectionRefusedError: print("closed", flush=True)
"""


def started(script: str, *arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != VARIABLE} | ({VARIABLE: str(folder)} if folder else {})
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if script is not SCRAPE:
        assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> str:
    """Let the process end and return what it still had to say."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    rest = process.stdout.read()
    assert process.wait(timeout=30) == 0
    return rest


def scraped(folder: Path) -> dict[str, float]:
    with started(SCRAPE, folder=folder) as process:
        text = ended(process)
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_two_processes_are_merged_and_a_killed_one_leaves_its_counts_only(tmp_path: Path) -> None:
    with started(WORKER, folder=tmp_path) as first, started(WORKER, folder=tmp_path) as second:
        both = scraped(tmp_path)
        first.kill()
        first.wait(timeout=30)
        one = scraped(tmp_path)
        ended(second)
        none = scraped(tmp_path)
    leader, jobs = 'tallylight_leader{role="dispatch"}', 'tallylight_jobs{state="queued"}'
    requests = 'tallylight_http_request_seconds_count{method="POST",route="/v1/videos",status="2xx"}'
    assert [scrape['tallylight_admissions_total{outcome="held"}'] for scrape in (both, one, none)] == [4, 4, 4]
    assert [scrape[requests] for scrape in (both, one, none)] == [2, 2, 2]
    assert [scrape.get(leader) for scrape in (both, one, none)] == [2, 1, None]
    assert [scrape.get(jobs) for scrape in (both, one, none)] == [7, 7, None]


def test_one_process_shows_its_metrics_on_a_port_until_it_stops() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with started(SERVE, str(port)) as process:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        rest = ended(process)
    assert 'tallylight_attempts_total{outcome="succeeded"} 1.0' in text
    assert rest == "closed\n"


SHARE = """
import os, subprocess, sys
from pathlib import Path
from gateway.telemetry.multiprocess import share_metrics
with share_metrics(sys.argv[1]) as folder:
    worker = "from gateway.telemetry.metrics import admissions; admissions('held').inc()"
    subprocess.run([sys.executable, "-c", worker], check=True)
    from gateway.telemetry import metrics
    print("ready" if b'{outcome="held"} 1.0' in metrics.exposition() else metrics.exposition().decode(), flush=True)
print(folder.exists(), "PROMETHEUS_MULTIPROC_DIR" in os.environ)
"""


@pytest.mark.parametrize("given", [True, False])
def test_a_launcher_shares_a_folder_cleared_of_the_last_run(tmp_path: Path, given: bool) -> None:
    with started(WORKER, folder=tmp_path) as earlier:
        ended(earlier)
    with started(SHARE, str(tmp_path) if given else "") as launcher:
        assert ended(launcher) == f"{given} False\n"


def test_sharing_too_late_is_refused_instead_of_counting_in_private() -> None:
    script = """
import prometheus_client
from gateway.telemetry.multiprocess import share_metrics
try:
    with share_metrics(): pass
except RuntimeError: print("ready")
import os; os.environ["PROMETHEUS_MULTIPROC_DIR"] = "/"
try: import gateway.telemetry.metrics
except RuntimeError: print("refused")
"""
    with started(script) as process:
        assert ended(process) == "refused\n"
