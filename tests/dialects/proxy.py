"""A proxy that forwards every request and can spoil the answer after the server has given it."""

import socket
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

import httpx

Fault = Literal["cut", "unavailable"]


class SpoilingProxy:
    """Spoils the first answers as `faults` says: `cut` closes the connection, `unavailable` answers 503. Then passes all on."""

    def __init__(self, upstream: str, faults: Sequence[Fault]) -> None:
        self.faults, self.seen = list(faults), list[httpx.Headers]()
        """`seen`: the headers of each request, in order."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                proxy.forward(self, upstream)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forward(self, client: BaseHTTPRequestHandler, upstream: str) -> None:
        headers = httpx.Headers(list(client.headers.items()))
        self.seen.append(headers)
        body = client.rfile.read(int(headers["content-length"]))
        kept = {name: value for name, value in headers.items() if name not in ("host", "connection", "content-length")}
        answer = httpx.post(upstream + client.path, content=body, headers=kept, timeout=30)
        fault = self.faults.pop(0) if self.faults else None
        client.close_connection = True
        if fault == "cut":
            client.connection.shutdown(socket.SHUT_RDWR)
            return
        client.send_response(503 if fault == "unavailable" else answer.status_code)
        for name in ("content-type", "x-should-retry", "idempotent-replayed"):
            if name in answer.headers:
                client.send_header(name, answer.headers[name])
        client.send_header("content-length", str(len(answer.content)))
        client.end_headers()
        client.wfile.write(answer.content)
