"""`tallylight up` as a newcomer meets it: one life of an installation, from an empty folder to the second start."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from gateway.local import triton
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
START_S = 90.0
NOBODY = 65534
ROLES = ("api", "dispatch", "clerk", "triton", "postgres")


class Up:
    """One run of `up` on a folder."""

    def __init__(self, folder: Path, *flags: str, become: Sequence[str] = (), **environment: str) -> None:
        self.folder, self.ready, self.log = folder, folder.parent / "ready.json", folder.parent / "up.log"
        self.ready.unlink(missing_ok=True)
        argv = [*become, sys.executable, "-m", "gateway", "up", "--data", str(folder), "--ready-file", str(self.ready), *flags]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
            )

    def state(self) -> dict[str, Any]:
        return json.loads(self.ready.read_text())

    def until(self, happened: Callable[[], bool], what: str) -> None:
        given_up_at = time.monotonic() + START_S
        while not happened():
            assert self.process.poll() is None, f"up has ended\n{self.log.read_text()}"
            assert time.monotonic() < given_up_at, f"not in time: {what}\n{self.log.read_text()}"
            time.sleep(0.05)

    def wait_ready(self) -> dict[str, Any]:
        self.until(self.ready.exists, "the ready file")
        return self.state()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)


def command(*argv: str, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *argv], cwd=folder.parent, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def running(folder: Path) -> Iterator[Up]:
    up = Up(folder, "--port", "0")
    yield up
    if up.process.poll() is None:
        up.process.kill()
        up.process.wait()


def test_an_installation_lives(running: Up, folder: Path) -> None:
    first = running.wait_ready()
    assert set(first["pids"]) == {"up", *ROLES}
    with av.open(str(folder / "first.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 96
    told = running.log.read_text()
    for said in ("capture", "-¥4.00", "curl -s", "from openai import OpenAI", "from volcenginesdkarkruntime import Ark"):
        assert said in told

    for role in ROLES:
        killed = running.state()["pids"][role]
        os.kill(killed, signal.SIGKILL)
        running.until(lambda pid=killed, name=role: running.state()["pids"].get(name, pid) != pid, f"{role} is started again")
        made = command(
            "generate", f"after {role}", "--seconds", "0.5", "--size", "128x72", "--data", str(folder), "--json", folder=folder
        )
        assert json.loads(made.stdout)["state"] == "succeeded"

    dsn = first["dsn"]
    assert json.loads(command("ledger", "verify", "--dsn", dsn, "--json", folder=folder).stdout) == {
        "sound": True,
        "findings": [],
    }
    listed = json.loads(command("jobs", "list", "--data", str(folder), "--json", folder=folder).stdout)["data"]
    assert len(listed) == 1 + len(ROLES)
    wallet = json.loads(command("wallet", "show", "--org", "demo", "--dsn", dsn, "--json", folder=folder).stdout)
    spent = sum(job["billing"]["charged_micro"] for job in listed)
    assert wallet[0]["posted"] == 1_000_000_000 - spent

    second = command("up", "--port", "0", "--data", str(folder), folder=folder, check=False)
    assert second.returncode == 1 and "already runs" in second.stderr and "Traceback" not in second.stderr

    pids = list(running.state()["pids"].values())
    assert running.stop() == 0
    assert not any(map(alive, pids))

    again = Up(folder, "--port", "0", "--no-demo-video")
    try:
        state = again.wait_ready()
        assert (state["api_key"], state["test_api_key"]) == (first["api_key"], first["test_api_key"])
        headers = {"authorization": f"Bearer {state['api_key']}"}
        assert len(httpx.get(f"{state['base_url']}/v1/jobs", headers=headers).json()["data"]) == len(listed)
    finally:
        pids = list(again.state()["pids"].values())
        again.process.kill()  # nothing may outlive it even so
        again.process.wait()
    given_up_at = time.monotonic() + 15
    while any(map(alive, pids)):
        assert time.monotonic() < given_up_at, [pid for pid in pids if alive(pid)]
        time.sleep(0.05)


def test_an_ordinary_user_needs_no_more_than_a_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    temporary, data = home / "tmp", home / "data"
    temporary.mkdir()
    shared_memory = f"{triton._shm_prefix(data / 'triton')}*"
    up = Up(
        data, "--port", "0", "--no-demo-video", become=ordinary_user(home, temporary), HOME="/nonexistent", TMPDIR=str(temporary)
    )
    try:
        state = up.wait_ready()
        assert list(triton.SHM.glob(shared_memory)), "the test looks for what Triton does not make"
        made = httpx.post(
            f"{state['base_url']}/v1/jobs",
            json={"model": "testcard", "prompt": "a lamp", "frames": 8, "fps": 16, "size": "128x72"},
            headers={"authorization": f"Bearer {state['api_key']}", "prefer": "wait=60"},
            timeout=90,
        )
        assert made.json()["state"] == "succeeded", made.text
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in state["pids"].values()} == {home.stat().st_uid}
        assert up.stop() == 0
    finally:
        up.process.kill()
        up.process.wait()
    assert not any(map(alive, state["pids"].values()))
    assert not any(str(home) in command_line(process) for process in Path("/proc").glob("[0-9]*"))
    assert not list(triton.SHM.glob(shared_memory))
    assert not list(temporary.iterdir()) and not list((data / "spool").iterdir())
    assert not (data / "postgres" / "pg" / "postmaster.pid").exists()


def ordinary_user(*folders: Path) -> list[str]:
    """Root becomes `nobody`, whose these folders then are; all it keeps is the right to read, for it may own this interpreter."""
    if os.geteuid() != 0:
        return []
    for folder in folders:
        os.chown(folder, NOBODY, NOBODY)
    only = "-all,+dac_read_search"
    # Without the secure bit access(2) would say no where open(2) says yes, and Triton asks before it opens.
    caps = [f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}", "--securebits=+no_setuid_fixup"]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", *caps, "--"]


def command_line(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_text(errors="replace")
    return ""


def test_a_port_that_is_taken_is_said(folder: Path) -> None:
    import socket

    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = command("up", "--port", str(port), "--data", str(folder), folder=folder, check=False)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = command("up", "--port", "0", "--data", str(tmp_path / "file" / "data"), folder=tmp_path / "x", check=False)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr and "Traceback" not in done.stderr


def test_a_demo_fleet_of_unequal_servers(folder: Path) -> None:
    up = Up(folder, "--port", "0", "--fleet", "demo", "--no-demo-video")
    try:
        state = up.wait_ready()
        assert {"triton-swift", "triton-steady", "triton-thrifty"} < set(state["pids"])
        listed = json.loads(command("fleet", "list", "--dsn", state["dsn"], "--json", folder=folder).stdout)
        assert {one["live"]["condition"] for one in listed} == {"up"}
        assert len({one["accelerator"] for one in listed}) == len({one["price_micro_usd_per_hour"] for one in listed}) == 3
        for model in ("testcard", "testcard-draft", "testcard-feature"):
            ask = ("generate", "x", "--model", model, "--seconds", "0.5", "--size", "128x72")
            made = command(*ask, "--data", str(folder), "--json", folder=folder)
            assert json.loads(made.stdout)["state"] == "succeeded"
        cordoned = json.loads(command("fleet", "cordon", "swift", "--dsn", state["dsn"], "--json", folder=folder).stdout)
        assert cordoned[0]["state"] == "cordoned"
        refused = command("fleet", "remove", "swift", "--dsn", state["dsn"], folder=folder, check=False)
        assert refused.returncode == 1 and "declared by the settings" in refused.stderr
    finally:
        up.stop()
