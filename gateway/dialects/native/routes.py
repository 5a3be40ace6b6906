"""/v1/jobs: create, read, list, cancel and delete. Files, events and estimates stand beside this file."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from litestar import Response, Router, delete, get, post

from billing.kit.pool import tenant, transact
from gateway.dialects.native.estimate import estimate
from gateway.dialects.native.events import stream_events
from gateway.dialects.native.examples import CREATE_JOB
from gateway.dialects.native.files import get_artifact, get_file
from gateway.dialects.native.requests import ROLES, read_request
from gateway.dialects.native.translate import ask_of, cursor_of, parse_cursor, render, render_list
from gateway.dialects.native.wire import CreateJob, JobList, JobView
from gateway.edge.artifacts import linked
from gateway.edge.bodies import ignored_header
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, read_job
from gateway.edge.described import IDEMPOTENCY_KEY, Answer, Described, Parameter, between
from gateway.edge.follow import final_or_later, preferred_wait_s
from gateway.edge.query import integer, query_of, single
from gateway.edge.replies import Reply, admitted_reply, json_reply
from gateway.edge.submit import ADMISSION_ERRORS, submit
from gateway.errors import (
    InvalidMedia,
    InvalidRequest,
    JobNotFinished,
    NotFound,
    TooLarge,
    UnknownModel,
    UnsupportedContent,
    UnsupportedField,
)
from gateway.jobs.cancel import cancel
from gateway.jobs.delete import delete as delete_now
from gateway.jobs.list import Filter, list_jobs
from gateway.jobs.model import job_of
from gateway.video import Job, State, Tier, public_id

PAGE_DEFAULT, PAGE_MAX = 20, 100

_PREFER = Parameter(
    "Prefer",
    "`wait` or `wait=N`: be answered only when the job has ended, or after N seconds, 60 at most (RFC 7240).",
    str,
    "header",
)
_APPLIED = {"Preference-Applied": "`wait=N`, where Prefer asked for it."}
_CREATE = Described(
    tag="Jobs",
    body=CreateJob,
    files=dict.fromkeys(ROLES, "An image in this role."),
    examples=CREATE_JOB,
    answers={
        201: Answer(
            "The job: priced, held and queued; with `Prefer: wait` as it is after waiting.",
            JobView,
            headers={
                **_APPLIED,
                "Idempotent-Replayed": "`true`: this is the stored answer to an earlier request, as it was then.",
                "X-Ignored-Fields": "Fields that a lenient key sent and that are not supported.",
            },
        )
    },
    parameters=(IDEMPOTENCY_KEY, _PREFER),
    errors=(
        InvalidRequest,
        UnsupportedField,
        UnknownModel,
        InvalidMedia,
        TooLarge,
        UnsupportedContent,
        *ADMISSION_ERRORS,
    ),
)
_GET = Described(
    tag="Jobs",
    answers={200: Answer("The job. One that failed says so in `state` and `error`.", JobView, headers=_APPLIED)},
    parameters=(_PREFER,),
    errors=(NotFound,),
)
_LIST = Described(
    tag="Jobs",
    answers={200: Answer("A page, newest first.", JobList)},
    parameters=(
        Parameter("limit", f"1 to {PAGE_MAX}, {PAGE_DEFAULT} if not given.", between(1, PAGE_MAX)),
        Parameter("cursor", "The `next_cursor` of the page before."),
        Parameter("state", "Only jobs in this state; may be given several times.", State),
        Parameter("model", "Only jobs of this model."),
        Parameter("tier", "Only jobs in this tier.", Tier),
    ),
    errors=(InvalidRequest, UnsupportedField),
)
_CANCEL = Described(
    tag="Jobs",
    answers={200: Answer("The job: cancelled, cancelling, or unchanged if it had ended. Neither is charged.", JobView)},
    errors=(NotFound,),
)
_DELETE = Described(
    tag="Jobs",
    answers={204: Answer("The record and its files are gone; what was charged stays in the ledger.", empty=True)},
    errors=(NotFound, JobNotFinished),
)


@post("/jobs", status_code=201, operation_id="create_job", opt={"described": _CREATE, "hot": True})
async def create_job(request: HttpRequest) -> Reply:
    """Create a video. When this returns 201, the job, its price and its hold are durable; any other answer holds nothing."""
    caller = await authenticate(request)
    body, images, ignored = await read_request(request, caller)
    base, link = linked(request)
    admitted = await submit(
        request, caller, ask_of(body), images, dialect="native", status=201, render=lambda job: render(job, base, link)
    )
    headers, wait_s = ignored_header(ignored), preferred_wait_s(request)
    if wait_s is None or admitted.replayed:  # a replay is the first answer, byte for byte
        return admitted_reply(admitted, headers)
    job = await final_or_later(request, caller, public_id(admitted.job_id), wait_s)
    return json_reply(render(job, base, link), admitted.status, {**headers, "preference-applied": f"wait={wait_s}"})


@get("/jobs/{job_id:str}", operation_id="get_job", opt={"described": _GET, "hot": True})
async def get_job(request: HttpRequest, job_id: str) -> Reply:
    """The job as it is now, or with `Prefer: wait` once it has ended. A failed job is a 200 that says so."""
    caller, wait_s = await authenticate(request), preferred_wait_s(request)
    if wait_s is None:
        return _reply(request, await read_job(request, caller, job_id))
    job = await final_or_later(request, caller, job_id, wait_s)
    return _reply(request, job, {"preference-applied": f"wait={wait_s}"})


@get("/jobs", operation_id="list_jobs", opt={"described": _LIST})
async def list_jobs_page(request: HttpRequest) -> Reply:
    """The project's jobs, newest first, also those made in other dialects."""
    caller = await authenticate(request)
    query = query_of(request, "limit", "cursor", "state", "model", "tier")
    limit = integer(query, "limit", default=PAGE_DEFAULT, least=1, most=PAGE_MAX)
    cursor = single(query, "cursor")
    only = Filter(
        org_id=caller.org_id,
        project_id=caller.project_id,
        livemode=caller.livemode,
        states=_of(query, "state", get_args(State)) or None,
        model=single(query, "model"),
        tier=next(iter(_of(query, "tier", get_args(Tier))), None),
    )
    gateway, after = gateway_of(request), parse_cursor(cursor) if cursor is not None else None
    async with tenant(gateway.pool, caller.org_id) as conn:
        rows, more = await list_jobs(conn, only, limit=limit, after=after)
    jobs = [gateway.quotes.expected(job_of(row)) for row in rows]
    base, link = linked(request)
    return json_reply(render_list(jobs, base, link, next_cursor=cursor_of(jobs[-1]) if more else None))


def _of(query: dict[str, list[str]], name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Raises InvalidRequest."""
    given = tuple(query.get(name, ()))
    if any(value not in choices for value in given) or (name == "tier" and len(given) > 1):
        raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", param=name)
    return given


@post("/jobs/{job_id:str}/cancel", status_code=200, operation_id="cancel_job", opt={"described": _CANCEL})
async def cancel_job(request: HttpRequest, job_id: str) -> Reply:
    """Cancel a job: a queued one ends at once, a running one is told to stop. Nothing is charged for either."""
    caller, gateway = await authenticate(request), gateway_of(request)
    job = await read_job(request, caller, job_id)
    if await transact(gateway.pool, lambda conn: cancel(conn, caller.org_id, job.id), of=caller.org_id) is not None:
        gateway.changes.ring()
    return _reply(request, await read_job(request, caller, job_id))


@delete("/jobs/{job_id:str}", status_code=204, operation_id="delete_job", opt={"described": _DELETE})
async def delete_job(request: HttpRequest, job_id: str) -> Response[None]:
    """Delete a finished job and its files. One that has not ended must be cancelled first."""
    caller, gateway = await authenticate(request), gateway_of(request)
    job = await read_job(request, caller, job_id)
    async with tenant(gateway.pool, caller.org_id) as conn:
        deleted = await delete_now(conn, caller.org_id, job.id)
    if not deleted:
        await read_job(request, caller, job_id)  # deleted by someone else meanwhile: NotFound
        raise JobNotFinished
    gateway.changes.ring()
    return Response(None, status_code=204)


def _reply(request: HttpRequest, job: Job, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
    base, link = linked(request)
    return json_reply(render(job, base, link), headers=headers)


router = Router(
    "/v1",
    route_handlers=[
        create_job,
        get_job,
        list_jobs_page,
        cancel_job,
        delete_job,
        get_artifact,
        get_file,
        stream_events,
        estimate,
    ],
)
