"""Around every request: an id, a metric, and no more headers than anyone needs."""

import os
import re
from time import perf_counter

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.telemetry.logs import answering
from gateway.telemetry.metrics import http_requests

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def observed(app: ASGIApp) -> ASGIApp:
    """Takes over a client's `x-request-id` or makes one, binds it to every log line, returns it, and times the answer."""

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
        request_id = given if _REQUEST_ID.fullmatch(given) else b"req_" + os.urandom(12).hex().encode()
        answering.set(request_id.decode())
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

    return around
