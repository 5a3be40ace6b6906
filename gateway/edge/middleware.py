"""Around every request: an id, a metric, and a line in the log of who called."""

import os
import re
from datetime import UTC, datetime
from time import perf_counter
from typing import cast

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from billing.kit.ids import new_id
from gateway.access.model import Caller
from gateway.context import Gateway
from gateway.edge.caller import Noted, noted
from gateway.requests.model import Call
from gateway.telemetry.logs import answering
from gateway.telemetry.metrics import http_requests
from gateway.video import parse_public_id

CLIENT_GONE = 499
"""What is logged where no answer was begun, after nginx."""

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
        noted.set(note := Noted())
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
            duration_s = perf_counter() - started
            route = scope.get("path_template") or "unmatched"
            http_requests(route, scope["method"], f"{status // 100}xx").observe(duration_s)
            if note.by is not None:
                _log(scope, note, route, status, round(duration_s * 1000))

    return around


def _log(scope: HTTPScope, note: Noted, route: str, status: int, duration_ms: int) -> None:
    """For the organization that called: a row for what changed something or was refused, a count for what was only read."""
    by, method = note.by, scope["method"]
    assert by is not None
    requests = cast(Gateway, scope["litestar_app"].state["gateway"]).requests
    project_id, caller_id = (by.project_id, by.key_id) if isinstance(by, Caller) else (None, by.actor.id)
    if method == "GET" and status < 400:
        requests.count(by.org_id, project_id, caller_id, route, duration_ms)
        return
    requests.note(
        Call(
            org_id=by.org_id,
            id=new_id(),
            at=datetime.now(UTC),
            project_id=project_id,
            caller_id=caller_id,
            method=method,
            route=route,
            status=status or CLIENT_GONE,
            code=note.code,
            duration_ms=duration_ms,
            job_id=note.job_id or parse_public_id(scope["path"].rpartition("/")[2]),
            request_id=answering.get(),
        )
    )
