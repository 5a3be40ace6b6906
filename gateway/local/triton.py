"""How to start the Triton server that the nvidia-pytriton wheel ships, against ordinary model repositories.

The wheel is used where it lies and never imported; what Triton needs beside it (a backend directory that holds the stub for this
Python) is built from symbolic links under a working directory of the caller's. Starting, watching and stopping the process is the
caller's: `command` says what to run, `wait_ready` when it may be used, `cleanup` what to do after it ended, however it ended.

The caller should start it in a process group of its own: each model instance is a child process of the server.
"""

import asyncio
import contextlib
import hashlib
import importlib.metadata
import os
import socket
import sys
import sysconfig
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import httpx

from gateway.local.errors import LocalUnavailable

BUNDLED_MODELS = Path(__file__).parents[2] / "deploy" / "triton" / "models"
"""The model repository of the reference model, in a checkout and in the wheel alike."""

EXIT_TIMEOUT_S = 5
SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps the shared memory of POSIX
LIBRARY_FOLDERS = tuple(
    Path(folder) for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/usr/local/lib64")
)
SHM_BYTES = 1024 * 1024
HTTP_OK = 200
DISTRIBUTION = "nvidia-pytriton"
STUB = "triton_python_backend_stub"


class LocalTritonUnavailable(LocalUnavailable):
    """This machine cannot run a Triton of its own; the message says in one sentence what to do about it."""


def command(
    models: Sequence[Path],
    work: Path,
    *,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    host: str = "127.0.0.1",
    loaded: Collection[str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command line and the whole environment of a server for the model repositories `models`.

    With `loaded` it starts with these models alone and is told when to load and unload others; without it, it serves all of them.
    Writes only under `work`, which must belong to this server alone while it runs. Raises `LocalTritonUnavailable` when the
    wheel, its stub for this Python or libpython is missing, when NumPy is too new for the stub, or when a port is taken.
    """
    site = _site()
    server = site / "pytriton" / "tritonserver"
    libraries = [site / "nvidia_pytriton.libs", *_libpython_folders()]
    _require_numpy_1()
    for port in (http_port, grpc_port, metrics_port):
        _require_free(host, port)
    argv = [
        str(server / "bin" / "tritonserver"),
        *(f"--model-repository={path.resolve()}" for path in models),
        f"--backend-directory={_backends(server, work)}",
        f"--http-address={host}",
        f"--http-port={http_port}",
        f"--grpc-address={host}",
        f"--grpc-port={grpc_port}",
        f"--metrics-address={host}",
        f"--metrics-port={metrics_port}",
        # Completion would start every model a second time only to ask for what config.pbtxt says already.
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        # The gateway pings every 30 s; by default Triton allows one ping in 300 s and closes the connection on the third.
        "--grpc-http2-min-recv-ping-interval-without-data=10000",
        *_control(loaded),
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        f"--backend-config=python,shm-region-prefix-name={_shm_prefix(work)}",
        f"--backend-config=python,shm-default-byte-size={SHM_BYTES}",
    ]
    environment = dict(os.environ)
    environment["LD_LIBRARY_PATH"] = _prepend(libraries, environment.get("LD_LIBRARY_PATH"))
    # The stub finds its interpreter, and so the packages of this environment, by looking for python3 in PATH.
    environment["PATH"] = _prepend([Path(sys.executable).parent], environment.get("PATH"))
    return argv, environment


async def wait_ready(host: str, http_port: int, *, timeout_s: float = 30.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Return when the server and every model in it answer; `alive` tells whether the process still runs.

    Raises `LocalTritonUnavailable` when it exits or is not ready after `timeout_s`.
    """
    url = f"http://{host}:{http_port}/v2/health/ready"
    try:
        async with asyncio.timeout(timeout_s), httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).status_code == HTTP_OK:
                        return
                if not alive():
                    raise LocalTritonUnavailable(
                        "Triton exited before it was ready; its log says which model could not be loaded."
                    )
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise LocalTritonUnavailable(
            f"Triton was not ready after {timeout_s:.0f} s; its log says what it is waiting for."
        ) from error


def instances(server_pid: int) -> list[int]:
    """The process ids of a running server's living model instances.

    Triton 2.51 does not restart the instance of a decoupled model whose process died, goes on calling the model ready, and fails
    every request that meets the dead instance: when there are fewer than after `wait_ready`, restart the server.
    """
    living: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # proc(5): pid (comm) state ppid …; the kernel cuts comm to 15 characters.
            comm, _, fields = (process / "stat").read_text().partition("(")[2].rpartition(")")
            state, parent = fields.split()[:2]
            if int(parent) == server_pid and state != "Z" and comm == STUB[:15]:
                living.append(int(process.name))
    return living


def cleanup(work: Path) -> None:
    """Delete the shared memory a server left behind. Call it after the process ended; a crashed stub does not tidy up itself."""
    for region in SHM.glob(f"{_shm_prefix(work)}*"):
        region.unlink(missing_ok=True)


def _control(loaded: Collection[str] | None) -> list[str]:
    return [] if loaded is None else ["--model-control-mode=explicit", *(f"--load-model={name}" for name in loaded)]


def _site() -> Path:
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise LocalTritonUnavailable(
            f"The package {DISTRIBUTION} is not installed; install it (Linux x86_64, Python 3.11 or 3.12) "
            "or point the gateway at a Triton server elsewhere."
        ) from error
    return Path(str(distribution.locate_file(""))).resolve()


def _libpython_folders() -> list[Path]:
    """The folder of the shared libpython the stub was linked to. Python 3.13's stub carries its own."""
    if sys.version_info >= (3, 13):
        return []
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    configured = sysconfig.get_config_var("LIBDIR")
    folders = [*([Path(configured)] if configured else []), Path(sys.base_prefix) / "lib", *LIBRARY_FOLDERS]
    for folder in folders:
        if (folder / name).exists():
            return [folder]
    raise LocalTritonUnavailable(
        f"{name} was not found; install Python's shared library (Debian and Ubuntu: the package {name.removesuffix('.so.1.0')}) "
        "or use a Python built with --enable-shared."
    )


def _require_numpy_1() -> None:
    version = importlib.metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise LocalTritonUnavailable(
            f"NumPy {version} is installed, and this Triton's Python backend corrupts text tensors with NumPy 2; install numpy<2."
        )


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LocalTritonUnavailable(
                f"Port {port} on {host} cannot be used ({error.strerror}); stop what uses it or choose another."
            ) from error


def _backends(server: Path, work: Path) -> Path:
    """Triton looks for the stub in the backend's own folder only, and the wheel keeps one stub per Python elsewhere."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / STUB
    if not stub.exists():
        there = ", ".join(sorted(path.name for path in stub.parent.parent.glob("3.*"))) or "none"
        raise LocalTritonUnavailable(f"Triton has no stub for Python {version} (it has {there}); use Python 3.11 or 3.12.")
    folder = work.resolve() / "backends" / "python"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (server / "backends" / "python" / "libtriton_python.so",
                 server / "backends" / "python" / "triton_python_backend_utils.py", stub):  # fmt: skip
        link = folder / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    return folder.parent


def _shm_prefix(work: Path) -> str:
    """Unique to the working directory, so that a crashed server's regions can be found again by whoever comes next."""
    return f"tallylight_{hashlib.sha256(str(work.resolve()).encode()).hexdigest()[:12]}_"


def _prepend(folders: Sequence[Path], existing: str | None) -> str:
    return os.pathsep.join([*map(str, folders), *([existing] if existing else [])])
