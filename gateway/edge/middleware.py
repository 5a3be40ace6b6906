"""Around every request: an id, a metric, and no more headers than anyone needs."""

import re
import secrets
from time import perf_counter

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, unbind_contextvars

from gateway.telemetry.metrics import http_requests

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def observed(app: ASGIApp) -> ASGIApp:
    """Takes over a client's `x-request-id` or makes one, binds it to every log line, returns it, and times the answer."""

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        request_id = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = b"req_" + secrets.token_hex(12).encode()
        bind_contextvars(request_id=request_id.decode())
        started, status = perf_counter(), 0

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id)]
            await send(message)

        try:
            await app(scope, receive, mark)
        finally:
            route = scope.get("path_template") or "unmatched"
            http_requests(route, scope["method"], f"{status // 100}xx").observe(perf_counter() - started)
            unbind_contextvars("request_id")

    return around
