"""An S3 server in a process of its own, and stores on it."""

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import httpx

from gateway.media.store import MediaStore

START_S = 30.0


@contextmanager
def running_s3() -> Generator[int]:
    """The port of a moto server with the bucket `media`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                httpx.put(f"http://127.0.0.1:{port}/media").raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline_s
                assert server.poll() is None
        yield port
    finally:
        server.kill()
        server.wait()


def s3_store(port: int, *, prefix: str = "p", request_s: float = 10.0, transfer_s: float = 30.0) -> MediaStore:
    return MediaStore.open(
        f"s3://media/{prefix}",
        s3_endpoint=f"http://127.0.0.1:{port}",
        s3_access_key="test",
        s3_secret_key="test",
        s3_region="us-east-1",
        s3_allow_http=True,
        request_s=request_s,
        transfer_s=transfer_s,
    )
