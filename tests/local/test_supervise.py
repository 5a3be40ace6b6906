"""The supervisor, with tiny programs: what ends is started again, what is stopped is gone, whoever dies."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.local.errors import LocalUnavailable
from gateway.local.postgres import LocalPostgres
from gateway.local.supervise import LOG_BYTES_MAX, GaveUp, Launch, Patience, Role, Supervisor, rotate

QUICK = Patience(backoff_s=0.01, backoff_max_s=0.02, healthy_s=30.0, first_failures_max=3, failures_max=4)
PATIENT_S = 30


def program(folder: Path, text: str) -> Callable[[], "asyncio.Future[Launch]"]:
    async def command() -> Launch:
        return Launch([sys.executable, "-c", text], dict(os.environ), folder)

    return command  # pyright: ignore[reportReturnType] – an async function is a callable that returns an awaitable


def sleeper(folder: Path, name: str, *, note: str = "", needs: tuple[str, ...] = (), **more: object) -> Role:
    """Runs until SIGTERM, then appends its name to `stopped`; `note` is what it does before it is up."""
    text = f"""
import signal, sys, pathlib
def stop(*_):
    with open("stopped", "a") as f: f.write("{name} ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
{note}
pathlib.Path("{name}.up").touch()
signal.pause()
"""

    async def ready(_pid: int) -> None:
        while not (folder / f"{name}.up").exists():
            await asyncio.sleep(0.01)

    def ended() -> None:
        (folder / f"{name}.up").unlink(missing_ok=True)

    return Role(name=name, title=name, command=program(folder, text), ready=ready, ended=ended, needs=needs, **more)  # pyright: ignore[reportArgumentType] – fields by name


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not condition():
            await asyncio.sleep(0.01)


class Watched:
    """A supervisor and what it said."""

    def __init__(self, folder: Path, patience: Patience = QUICK) -> None:
        self.sentences: list[str] = []
        self.changes = 0
        self.supervisor = Supervisor(folder, changed=self._count, told=self.sentences.append, patience=patience)

    def _count(self) -> None:
        self.changes += 1


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    yield made
    await made.supervisor.stop()


async def test_starts_again_what_was_killed(watched: Watched, tmp_path: Path) -> None:
    watched.supervisor.start(sleeper(tmp_path, "a"))
    await watched.supervisor.ready("a")
    first = watched.supervisor.pids()["a"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: watched.supervisor.pids().get("a", first) != first)
    assert watched.sentences == ["a was killed by SIGKILL; starting it again"]
    assert watched.changes == 2
    assert not alive(first)


async def test_takes_the_whole_group_of_what_died_with_it(watched: Watched, tmp_path: Path) -> None:
    note = "import subprocess; pathlib.Path('grandchild').write_text(str(subprocess.Popen(['sleep', '600']).pid))"
    watched.supervisor.start(sleeper(tmp_path, "a", note=note))
    await watched.supervisor.ready("a")
    await until((tmp_path / "grandchild").exists)
    await until((tmp_path / "grandchild").read_text)
    grandchild = int((tmp_path / "grandchild").read_text())
    first = watched.supervisor.pids()["a"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: watched.supervisor.pids().get("a", first) != first)
    assert not alive(grandchild)


async def test_stops_the_last_started_first_and_leaves_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.supervisor.start(sleeper(tmp_path, "database"))
    watched.supervisor.start(sleeper(tmp_path, "model"), sleeper(tmp_path, "runner", needs=("database",)))
    watched.supervisor.start(sleeper(tmp_path, "api", needs=("database",)))
    await watched.supervisor.ready("database", "model", "runner", "api")
    pids = watched.supervisor.pids().values()
    await watched.supervisor.stop()
    first, *middle, last = (tmp_path / "stopped").read_text().split()
    assert (first, sorted(middle), last) == ("api", ["model", "runner"], "database")
    assert not any(alive(pid) for pid in pids)


async def test_kills_what_does_not_stop(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    deaf = sleeper(tmp_path, "deaf", note="signal.signal(signal.SIGTERM, signal.SIG_IGN)", stop_s=0.1)
    watched.supervisor.start(deaf)
    await watched.supervisor.ready("deaf")
    pid = watched.supervisor.pids()["deaf"]
    await watched.supervisor.stop()
    assert not alive(pid)
    assert not (tmp_path / "stopped").exists()


async def test_waits_for_what_a_role_needs(watched: Watched, tmp_path: Path) -> None:
    watched.supervisor.start(sleeper(tmp_path, "database"))
    await watched.supervisor.ready("database")
    watched.supervisor.start(sleeper(tmp_path, "api", needs=("database",)))
    await watched.supervisor.ready("api")
    both = watched.supervisor.pids()
    (tmp_path / "database.up").unlink()
    for pid in both.values():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: set(watched.supervisor.pids()) == {"database", "api"} and watched.supervisor.pids() != both)


async def test_starts_anew_what_is_broken_though_it_runs(watched: Watched, tmp_path: Path) -> None:
    async def broken(_pid: int) -> str:
        await until((tmp_path / "break").exists)
        (tmp_path / "break").unlink()
        return "lost a model instance"

    watched.supervisor.start(sleeper(tmp_path, "model", broken=broken))
    await watched.supervisor.ready("model")
    first = watched.supervisor.pids()["model"]
    (tmp_path / "break").touch()
    await until(lambda: watched.supervisor.pids().get("model", first) != first)
    assert watched.sentences == ["model lost a model instance; starting it again"]


async def test_gives_up_on_what_never_becomes_ready_and_quotes_its_log(watched: Watched, tmp_path: Path) -> None:
    role = Role(
        name="a", title="The API", command=program(tmp_path, "print('no such table'); raise SystemExit(3)"), ready=sleeping
    )
    watched.supervisor.start(role)
    with pytest.raises(GaveUp, match=r"The API ended with status 3, 3 times in a row; .*a\.log is: no such table"):
        await watched.supervisor.ready("a")


async def test_gives_up_after_more_tries_on_what_was_ready_once(watched: Watched, tmp_path: Path) -> None:
    watched.supervisor.start(Role(name="a", title="a", command=program(tmp_path, "raise SystemExit(3)")))
    with pytest.raises(GaveUp, match=r"4 times in a row; its log .* is empty"):
        await watched.supervisor.failure()


async def test_does_not_try_again_what_the_machine_cannot_run(watched: Watched, tmp_path: Path) -> None:
    async def command() -> Launch:
        raise LocalUnavailable("install it")

    watched.supervisor.start(Role(name="a", title="a", command=command))
    with pytest.raises(LocalUnavailable, match="install it"):
        await watched.supervisor.ready("a")


async def test_forgets_failures_while_it_is_healthy(tmp_path: Path) -> None:
    watched = Watched(tmp_path, Patience(backoff_s=0.01, healthy_s=0.0, failures_max=2))
    watched.supervisor.start(sleeper(tmp_path, "a"))
    await watched.supervisor.ready("a")
    for _ in range(5):
        before = watched.supervisor.pids()["a"]
        os.kill(before, signal.SIGKILL)
        await until(lambda before=before: watched.supervisor.pids().get("a", before) != before)
    await watched.supervisor.stop()


async def test_waits_longer_after_each_failure() -> None:
    delays = [Patience().delay_s(failures) for failures in range(1, 8)]
    assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


PARENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from gateway.local.supervise import Launch, Role, Supervisor

async def command():
    return Launch([sys.executable, "-c", "import signal; signal.pause()"], {{}}, Path("."), {become})

async def main():
    supervisor = Supervisor(Path("."))
    supervisor.start(Role(name="a", title="a", command=command))
    await supervisor.ready("a")
    print(supervisor.pids()["a"], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("other_user", [False, True])
async def test_ends_with_a_parent_that_was_killed(tmp_path: Path, other_user: bool) -> None:
    """Also when it changed its user on the way, as PostgreSQL does under root: the kernel then forgets whom it belonged to."""
    owned = tmp_path / "pg"
    owned.mkdir()
    become = ["env"]
    if other_user and os.geteuid() == 0:
        os.chown(owned, 65534, 65534)
        become = LocalPostgres(tmp_path, 0, "").become()
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(root=root, become=become)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout
        child = int(await asyncio.to_thread(parent.stdout.readline))
        await until(lambda: b"tether.py" not in (line := Path(f"/proc/{child}/cmdline").read_bytes()) and b"pause" in line)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout:
            parent.stdout.close()
    await until(lambda: not alive(child))


def test_keeps_one_older_log(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (LOG_BYTES_MAX + 1))
        writer.flush()
        rotate(log)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "api.log.1").stat().st_size == LOG_BYTES_MAX + 1


async def sleeping(_pid: int) -> None:
    await asyncio.Event().wait()
