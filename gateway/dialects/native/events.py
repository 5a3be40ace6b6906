"""GET /v1/jobs/{id}/events: the job's log as server-sent events. It reads the log and never owns the job."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, cast

import msgspec
import structlog
from litestar import Response, get
from litestar.response import Stream

from billing.kit.batch import TRANSIENT, Overloaded
from gateway.dialects.native.translate import Link, event_of, view
from gateway.dialects.native.wire import JobEvent
from gateway.edge.artifacts import linked
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, header, read_job
from gateway.edge.described import Answer, Described, Parameter, between
from gateway.edge.follow import next_change
from gateway.errors import InvalidRequest, KeyRestricted, NotFound, Unauthenticated
from gateway.jobs.model import EventRow
from gateway.video import FINAL, Job, State

log = structlog.get_logger(__name__)

EVENT_ID_MAX = 999_999_999
HEARTBEAT_S = 15.0
"""A comment at least this often: proxies close what is silent, and a key that was revoked is noticed."""
RETRY_MS = 2000
"""What a browser waits before it connects again."""

_data = msgspec.json.Decoder(dict[str, Any])
_DESCRIBED = Described(
    tag="Jobs",
    answers={
        200: Answer(
            "The log from its start, or after Last-Event-ID, then live, until after the final event. Each event's data is JSON.",
            JobEvent,
            "text/event-stream",
        ),
        204: Answer("Last-Event-ID is the final event: there is nothing more to come.", empty=True),
    },
    parameters=(Parameter("Last-Event-ID", "The `id` of the last event that was received.", between(0, EVENT_ID_MAX), "header"),),
    errors=(NotFound, InvalidRequest),
)


@get("/jobs/{job_id:str}/events", operation_id="stream_job_events", opt={"described": _DESCRIBED})
async def stream_events(request: HttpRequest, job_id: str) -> Response[None] | Stream:
    """Follow a job. `id` is the event's number in the log, `event` its kind; progress events have no id."""
    caller = await authenticate(request)
    after = _last_event_id(request)
    job = await read_job(request, caller, job_id)
    if job.state in FINAL and after >= job.event_seq:
        return Response(None, status_code=204)  # this also tells an EventSource not to connect again
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(_follow(request, job_id, after), media_type="text/event-stream", headers=headers)


def _last_event_id(request: HttpRequest) -> int:
    text = header(request, b"last-event-id") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(EVENT_ID_MAX))):
        raise InvalidRequest("Last-Event-ID must be the id of an event of this stream", param="Last-Event-ID")
    return int(text)


async def _follow(request: HttpRequest, job_id: str, after: int) -> AsyncGenerator[bytes]:
    """Ends after the final event, and when the job is deleted, the key revoked, the database away or the process stopping."""
    gateway, (base, link) = gateway_of(request), linked(request)
    frames, spoke_at = -1, monotonic()
    yield b"retry: %d\n\n" % RETRY_MS
    try:
        while not gateway.closing.is_set():
            changed = next_change(gateway)
            try:
                caller = await authenticate(request)
                job = await read_job(request, caller, job_id)
                events = await gateway.reader.events(job.org_id, job.id, after) if job.event_seq > after else []
                if events and events[-1].seq > job.event_seq:
                    job = await read_job(request, caller, job_id)
                for event in events:
                    after, frames, spoke_at = event.seq, job.frames_done, monotonic()
                    yield _logged(event, job, base, link)
                    if event.kind in FINAL:
                        return
                if job.frames_done != frames and job.state == "running":
                    frames, spoke_at = job.frames_done, monotonic()
                    yield b"event: progress\ndata: %b\n\n" % event_of(job, "progress", datetime.now(UTC), {}, None)
                elif monotonic() - spoke_at >= HEARTBEAT_S:
                    spoke_at = monotonic()
                    yield b": still here\n\n"
                await changed
            finally:
                changed.cancel()
    except (NotFound, Unauthenticated, KeyRestricted, Overloaded, *TRANSIENT) as error:
        log.info("event_stream_ended", job_id=job_id, reason=type(error).__name__)


def _logged(event: EventRow, job: Job, base: str, link: Link) -> bytes:
    """One line of the log; the final one brings the job with its files and its charge."""
    kind = cast("State", event.kind)
    last = view(job, base, link) if kind in FINAL else None
    data = event_of(job, kind, event.created_at, _data.decode(event.data), last)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, kind.encode(), data)
