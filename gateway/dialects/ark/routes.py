"""/api/v3/contents/generations/tasks: create, get, list, and delete, which cancels what waits."""

from typing import Any

import msgspec
from litestar import Router, delete, get, post

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Caller
from gateway.dialects.ark.translate import (
    STATUS,
    TIERS,
    Link,
    ignored_header,
    render,
    render_created,
    render_error,
    render_page,
    understand,
    without_null,
    without_unknown,
)
from gateway.dialects.ark.wire import CreateTask, FailureDocument, Options, Task, TaskId, TaskPage
from gateway.edge.artifacts import linked
from gateway.edge.bodies import convert, read_json
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, read_job
from gateway.edge.described import IDEMPOTENCY_KEY, Answer, Described, ErrorShape, Parameter, between
from gateway.edge.inputs import image_at
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
from gateway.jobs.delete import delete as delete_job
from gateway.jobs.list import Filter, count_jobs, list_jobs
from gateway.jobs.model import job_of
from gateway.video import parse_public_id

PAGE_MAX = 500
PAGE_DEFAULT = 20
PAGE_NUMBER_MAX = 1_000_000

_object = msgspec.json.Decoder(dict[str, Any])

_TAG = "Ark content generation"
_BODY_ERRORS = (InvalidRequest, UnsupportedField, UnknownModel, InvalidMedia, TooLarge, UnsupportedContent)
_CREATE = Described(
    tag=_TAG,
    body=CreateTask,
    examples={"text": {"model": "testcard", "content": [{"type": "text", "text": "a red lamp --dur 4"}]}},
    parameters=(IDEMPOTENCY_KEY,),
    answers={200: Answer("The id of the task, queued.", TaskId)},
    errors=(*_BODY_ERRORS, *ADMISSION_ERRORS),
)
_GET = Described(tag=_TAG, answers={200: Answer("The task.", Task)}, errors=(NotFound,))
_LIST = Described(
    tag=_TAG,
    answers={200: Answer("A page.", TaskPage)},
    parameters=(
        Parameter("page_num", "From 1.", between(1, PAGE_NUMBER_MAX)),
        Parameter("page_size", "1 to 500, 20 if not given.", between(1, PAGE_MAX)),
        Parameter("filter.status", "Only tasks in this state."),
        Parameter("filter.model", "Only tasks of this model."),
        Parameter("filter.service_tier", "Only tasks of this tier."),
        Parameter("filter.task_ids", "Only these tasks; may be repeated."),
    ),
    errors=(InvalidRequest,),
)
_DELETE = Described(
    tag=_TAG, answers={200: Answer("It is cancelled or gone.", dict[str, str])}, errors=(NotFound, JobNotFinished)
)


@post("/", status_code=200, operation_id="ark_create_task", opt={"described": _CREATE, "hot": True})
async def create_task(request: HttpRequest) -> Reply:
    """Admit a task: priced, held and queued when this returns 200."""
    caller = await authenticate(request)
    given, ignored = without_null(await read_json(request, _object)), ()
    if caller.lenient:
        given, ignored = without_unknown(given)
    task = convert(given, CreateTask, strict=True)
    meant = understand(task, lambda flags: convert(flags, Options, strict=False), lenient=caller.lenient)
    images = [image_at(one.role, one.url, one.param) for one in meant.images]
    admitted = await submit(request, caller, meant.ask, images, dialect="ark", status=200, render=render_created)
    return admitted_reply(admitted, ignored_header([*ignored, *meant.ignored]))


def _link(request: HttpRequest) -> Link:
    return linked(request)[1]


@get("/{task_id:str}", operation_id="ark_get_task", opt={"described": _GET, "hot": True})
async def get_task(request: HttpRequest, task_id: str) -> Reply:
    """The task as it is now. A failed one is a 200 that says so."""
    caller = await authenticate(request)
    return json_reply(render(await read_job(request, caller, task_id), _link(request)))


@get("/", operation_id="ark_list_tasks", opt={"described": _LIST})
async def list_tasks(request: HttpRequest) -> Reply:
    """The project's tasks, newest first; those made in other dialects too."""
    caller = await authenticate(request)
    number, size = _number(request, "page_num", 1, PAGE_NUMBER_MAX), _number(request, "page_size", PAGE_DEFAULT, PAGE_MAX)
    only = _filter(request, caller)
    async with tenant(gateway_of(request).pool, caller.org_id) as conn:
        total = await count_jobs(conn, only)
        rows, _ = await list_jobs(conn, only, limit=size, offset=(number - 1) * size)
    return json_reply(render_page([job_of(row) for row in rows], total, _link(request)))


def _number(request: HttpRequest, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= most):
        raise InvalidRequest(f"{name} must be between 1 and {most}", param=name)
    return int(text)


def _filter(request: HttpRequest, caller: Caller) -> Filter:
    """Raises InvalidRequest."""
    query = request.query_params
    status, tier, ids = query.get("filter.status"), query.get("filter.service_tier"), query.getall("filter.task_ids", [])
    if status is not None and status not in STATUS.values():
        raise InvalidRequest(f"filter.status must be one of {', '.join(dict.fromkeys(STATUS.values()))}", param="filter.status")
    if tier is not None and tier not in TIERS:
        raise InvalidRequest(f"filter.service_tier must be one of {', '.join(TIERS)}", param="filter.service_tier")
    return Filter(
        org_id=caller.org_id,
        project_id=caller.project_id,
        livemode=caller.livemode,
        states=tuple(state for state, name in STATUS.items() if name == status) if status else None,
        model=query.get("filter.model"),
        tier=TIERS[tier] if tier else None,
        ids=tuple(found for text in ids if (found := parse_public_id(text))) if ids else None,
    )


@delete("/{task_id:str}", status_code=200, operation_id="ark_delete_task", opt={"described": _DELETE})
async def delete_task(request: HttpRequest, task_id: str) -> Reply:
    """Cancel a task that waits, delete one that has ended; one that runs is neither and is refused."""
    caller = await authenticate(request)
    job = await read_job(request, caller, task_id)

    async def end(conn: Conn) -> bool:
        if job.state == "queued":
            return await cancel(conn, job.org_id, job.id) is not None
        return await delete_job(conn, job.org_id, job.id)

    if not await transact(gateway_of(request).pool, end, of=caller.org_id):
        raise JobNotFinished("The task is running and cannot be deleted. Wait until it has ended.")
    return json_reply(b"{}")


router = Router(
    "/api/v3/contents/generations/tasks",
    route_handlers=[create_task, list_tasks, get_task, delete_task],
    opt={"errors": ErrorShape(FailureDocument, render_error)},
)
