"""Starting the Triton of this machine: what runs, and the one sentence when it cannot."""

import asyncio
import importlib.metadata
import os
import signal
import socket
import sys
import sysconfig
from pathlib import Path

import pytest

from gateway.local import triton
from gateway.local.triton import LocalTritonUnavailable


def command(work: Path, ports: tuple[int, ...] = (18800, 18801, 18802)) -> tuple[list[str], dict[str, str]]:
    http, grpc, metrics = ports
    return triton.command([triton.BUNDLED_MODELS], work, http_port=http, grpc_port=grpc, metrics_port=metrics)


def test_nothing_is_written_outside_the_working_directory(tmp_path: Path) -> None:
    wheel = Path(str(importlib.metadata.distribution("nvidia-pytriton").locate_file("pytriton")))
    before = sorted(wheel.rglob("*"))
    argv, environment = command(tmp_path)
    assert sorted(wheel.rglob("*")) == before
    assert f"--backend-directory={tmp_path}/backends" in argv
    assert {path.name for path in (tmp_path / "backends" / "python").iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils.py",
    }
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert argv == command(tmp_path)[0], "a second start finds the first one's links"


def test_every_server_has_shared_memory_of_its_own_and_cleanup_takes_only_that(tmp_path: Path) -> None:
    prefixes: list[str] = []
    for name in ("a", "b"):
        argv, _ = command(tmp_path / name)
        prefixes += [a.partition("shm-region-prefix-name=")[2] for a in argv if "shm-region-prefix-name" in a]
    regions = [triton.SHM / f"{prefix}left-behind" for prefix in prefixes]
    try:
        for region in regions:
            region.touch()
        triton.cleanup(tmp_path / "a")
        assert [region.exists() for region in regions] == [False, True]
    finally:
        triton.cleanup(tmp_path / "b")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalTritonUnavailable, match=f"Port {port} "):
            command(tmp_path, (18800, port, 18802))


def test_a_missing_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "DISTRIBUTION", "not-installed-here")
    with pytest.raises(LocalTritonUnavailable, match="not-installed-here is not installed"):
        command(tmp_path)


def test_a_missing_libpython_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "LIBRARY_FOLDERS", ())
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: str(tmp_path))
    with pytest.raises(LocalTritonUnavailable, match=r"libpython3\.\d+\.so\.1\.0 was not found"):
        command(tmp_path)


def test_numpy_2_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.3.1")
    with pytest.raises(LocalTritonUnavailable, match=r"NumPy 2\.3\.1 .* numpy<2"):
        command(tmp_path)


def test_a_python_without_a_stub_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = tmp_path / "pytriton" / "tritonserver" / "python_backend_stubs"
    (stubs / "3.8").mkdir(parents=True)
    monkeypatch.setattr(triton, "_site", lambda: tmp_path)
    with pytest.raises(LocalTritonUnavailable, match=r"no stub for Python 3\.\d+ \(it has 3\.8\)"):
        command(tmp_path)


async def test_waiting_ends_when_the_process_has_ended() -> None:
    with pytest.raises(LocalTritonUnavailable, match="exited before it was ready"):
        await triton.wait_ready("127.0.0.1", 1, alive=lambda: False)


async def test_waiting_ends_after_its_time() -> None:
    with pytest.raises(LocalTritonUnavailable, match="not ready after 0 s"):
        await triton.wait_ready("127.0.0.1", 1, timeout_s=0.1)


async def test_a_terminated_server_leaves_nothing_behind(tmp_path: Path) -> None:
    ports = _free_ports()
    argv, environment = command(tmp_path, ports)
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        await triton.wait_ready("127.0.0.1", ports[0], alive=lambda: process.returncode is None)
        assert len(triton.instances(process.pid)) == 2
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        assert triton.instances(process.pid) == []
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        triton.cleanup(tmp_path)


def _free_ports() -> tuple[int, ...]:
    probes = [socket.socket() for _ in range(3)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
    finally:
        for probe in probes:
            probe.close()
