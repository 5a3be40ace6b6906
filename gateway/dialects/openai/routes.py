"""/v1/videos: create, poll, list, download and delete; what the installed models cannot do is refused by name."""

from time import monotonic
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import HttpMethod, Response, Router, delete, get, post, route
from litestar.response import Stream

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Caller
from gateway.context import Gateway
from gateway.dialects.openai.translate import (
    ask_of,
    ignored_header,
    reference_url,
    render,
    render_deleted,
    render_error,
    render_page,
    without_unknown,
)
from gateway.dialects.openai.wire import CreateVideo, Deleted, FailureDocument, Video, VideoPage
from gateway.edge.artifacts import serve_artifact
from gateway.edge.bodies import Upload, content_type, convert, nested, read_form, read_json
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, read_job
from gateway.edge.described import IDEMPOTENCY_KEY, Answer, Described, ErrorShape, Parameter, between
from gateway.edge.inputs import Image, image_at
from gateway.edge.replies import Reply, admitted_reply, json_reply
from gateway.edge.submit import ADMISSION_ERRORS, submit
from gateway.errors import (
    ArtifactGone,
    InvalidMedia,
    InvalidRequest,
    JobNotFinished,
    NotFound,
    RangeNotSatisfiable,
    TooLarge,
    UnknownModel,
    UnsupportedContent,
    UnsupportedField,
)
from gateway.jobs.cancel import cancel
from gateway.jobs.delete import delete as delete_job
from gateway.jobs.list import Filter, list_jobs
from gateway.jobs.model import job_of
from gateway.video import FINAL, parse_public_id

PAGE_MAX = 100
PAGE_DEFAULT = 20
POLL_AFTER_MS = 1000
"""OpenAI's SDKs read this from the first answer and keep to it."""
CANCEL_WAIT_S = 5.0
"""How long DELETE waits for a running job to stop."""

_object = msgspec.json.Decoder(dict[str, Any])

_TAG = "OpenAI Videos"
_BODY_ERRORS = (InvalidRequest, UnsupportedField, UnknownModel, InvalidMedia, TooLarge, UnsupportedContent)
_CREATE = Described(
    tag=_TAG,
    body=CreateVideo,
    files={"input_reference": "An image the video starts from."},
    examples={"text": {"model": "testcard", "prompt": "a red lamp", "seconds": "4", "size": "1280x720"}},
    parameters=(IDEMPOTENCY_KEY,),
    answers={200: Answer("The video, queued.", Video)},
    errors=(*_BODY_ERRORS, *ADMISSION_ERRORS),
)
_LIST = Described(
    tag=_TAG,
    answers={200: Answer("A page.", VideoPage)},
    parameters=(
        Parameter("after", "The last_id of the page before."),
        Parameter("limit", "1 to 100, 20 if not given.", between(1, PAGE_MAX)),
        Parameter("order", "asc or desc, newest first if not given.", Literal["asc", "desc"]),
    ),
    errors=(InvalidRequest,),
)
_GET = Described(tag=_TAG, answers={200: Answer("The video.", Video)}, errors=(NotFound,))
_DELETE = Described(tag=_TAG, answers={200: Answer("It is gone.", Deleted)}, errors=(NotFound, JobNotFinished))
_CONTENT = Described(
    tag=_TAG,
    answers={
        200: Answer("The whole file.", media=("video/mp4", "image/jpeg", "image/png")),
        206: Answer("The range.", media=("video/mp4", "image/jpeg", "image/png")),
        304: Answer("The file has the tag in If-None-Match.", empty=True),
    },
    parameters=(
        Parameter("variant", "video if not given.", Literal["video", "thumbnail", "last_frame"]),
        Parameter("Range", "One range of bytes.", str, "header"),
    ),
    errors=(NotFound, ArtifactGone, InvalidRequest, UnsupportedField, RangeNotSatisfiable),
)
_REFUSED_POST = Described(tag=_TAG, answers={}, errors=(UnsupportedField,))
_REFUSED_GET = Described(
    tag=_TAG,
    answers={},
    parameters=(Parameter("character_id", "The id of a character.", str, "path"),),
    errors=(UnsupportedField,),
)


@post("/", status_code=200, operation_id="openai_create_video", opt={"described": _CREATE, "hot": True})
async def create_video(request: HttpRequest) -> Reply:
    """Admit a video: priced, held and queued when this returns 200."""
    caller = await authenticate(request)
    given, uploads = await _read(request)
    ignored: tuple[str, ...] = ()
    if caller.lenient:
        given, ignored = without_unknown(given)
        ignored += tuple(upload.field for upload in uploads if upload.field != "input_reference")
    else:
        _refuse_unknown(uploads)
    body = convert(given, CreateVideo, strict=False)
    admitted = await submit(
        request,
        caller,
        ask_of(body, gateway_of(request).default_model),
        images_of(body, uploads),
        dialect="openai",
        status=200,
        render=render,
    )
    return admitted_reply(admitted, {**ignored_header(ignored), "openai-poll-after-ms": str(POLL_AFTER_MS)})


async def _read(request: HttpRequest) -> tuple[dict[str, Any], tuple[Upload, ...]]:
    if content_type(request)[0] == "multipart/form-data":
        form = await read_form(request)
        return nested(form.fields), form.files
    return await read_json(request, _object), ()


def _refuse_unknown(uploads: tuple[Upload, ...]) -> None:
    for upload in uploads:
        if upload.field != "input_reference":
            raise UnsupportedField(f"{upload.field} is not supported here; remove it", param=upload.field)


def images_of(body: CreateVideo, uploads: tuple[Upload, ...]) -> list[Image]:
    """The reference image, not looked at yet: the first frame. Raises InvalidRequest, InvalidMedia."""
    name = "input_reference"
    images = [Image("first_frame", upload.data, name) for upload in uploads if upload.field == name]
    url = reference_url(body)
    if url is not None:
        images.append(image_at("first_frame", url, name))
    if len(images) > 1:
        raise InvalidRequest("input_reference is given more than once; a video takes one", param=name)
    return images


@get("/", operation_id="openai_list_videos", opt={"described": _LIST})
async def list_videos(request: HttpRequest) -> Reply:
    """The project's videos, newest first unless `order=asc`; those made in other dialects too."""
    caller = await authenticate(request)
    query = request.query_params
    limit, order, after = query.get("limit", str(PAGE_DEFAULT)), query.get("order", "desc"), query.get("after")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= PAGE_MAX):
        raise InvalidRequest(f"limit must be between 1 and {PAGE_MAX}", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc", param="order")
    cursor = parse_public_id(after) if after is not None else None
    if after is not None and cursor is None:
        raise InvalidRequest("after must be the id of a video, as last_id of a page gives it", param="after")
    gateway, only = gateway_of(request), Filter(org_id=caller.org_id, project_id=caller.project_id, livemode=caller.livemode)
    async with tenant(gateway.pool, caller.org_id) as conn:
        rows, more = await list_jobs(conn, only, limit=int(limit), after=cursor, ascending=order == "asc")
    return json_reply(render_page([gateway.quotes.expected(job_of(row)) for row in rows], has_more=more))


@get("/{video_id:str}", operation_id="openai_get_video", opt={"described": _GET, "hot": True})
async def get_video(request: HttpRequest, video_id: str) -> Reply:
    """The video as it is now. A failed one is a 200 that says so."""
    caller = await authenticate(request)
    job = await read_job(request, caller, video_id)
    return json_reply(render(job), headers={} if job.state in FINAL else {"openai-poll-after-ms": str(POLL_AFTER_MS)})


@delete("/{video_id:str}", status_code=200, operation_id="openai_delete_video", opt={"described": _DELETE})
async def delete_video(request: HttpRequest, video_id: str) -> Reply:
    """Delete a video with its files. One that has not ended is cancelled first, uncharged: this API has no other way."""
    caller = await authenticate(request)
    job = await read_job(request, caller, video_id)
    await _end_and_delete(gateway_of(request), caller, job.id)
    return json_reply(render_deleted(job))


async def _end_and_delete(gateway: Gateway, caller: Caller, job_id: UUID) -> None:
    """Raises JobNotFinished when a running job has not stopped after CANCEL_WAIT_S; then it is still told to."""
    until = monotonic() + CANCEL_WAIT_S

    async def end(conn: Conn) -> bool:
        await cancel(conn, caller.org_id, job_id)
        return await delete_job(conn, caller.org_id, job_id)

    while True:
        seen = gateway.changes.rung
        if await transact(gateway.pool, end, of=caller.org_id):
            return
        while not await _ended(gateway, caller, job_id):
            left_s = until - monotonic()
            if left_s <= 0 or gateway.closing.is_set():
                raise JobNotFinished("The video is being cancelled and will not be charged. Delete it again in a moment.")
            await gateway.changes.wait(seen, min(left_s, 0.5))
            seen = gateway.changes.rung


async def _ended(gateway: Gateway, caller: Caller, job_id: UUID) -> bool:
    """Raises NotFound when someone else has deleted it meanwhile."""
    row = await gateway.reader.job(caller.org_id, caller.project_id, job_id, livemode=caller.livemode)
    return row.state in FINAL


@route(
    "/{video_id:str}/content",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    operation_id="openai_get_video_content",
    opt={"described": _CONTENT},
)
async def get_content(request: HttpRequest, video_id: str) -> Response[bytes] | Stream:
    """The file, whole or by range; `variant` is video (the default), thumbnail or last_frame where the job has one."""
    caller = await authenticate(request)
    variant = request.query_params.get("variant", "video")
    if variant == "spritesheet":
        raise UnsupportedField("no spritesheets are made here; ask for variant=video", param="variant")
    if variant not in ("video", "thumbnail", "last_frame"):
        raise InvalidRequest("variant must be video, thumbnail or last_frame", param="variant")
    job = await read_job(request, caller, video_id)
    if job.state == "succeeded" and job.assets_deleted_at is None and job.artifact(variant) is None:
        raise ArtifactGone(f"this video has no {variant}; ask for variant=video")
    return serve_artifact(gateway_of(request), request, job, variant)


@post(
    ["/{video_id:str}/remix", "/edits", "/extensions", "/characters"],
    operation_id="openai_refuse_derivation",
    opt={"described": _REFUSED_POST},
)
async def refuse_derivation(request: HttpRequest) -> Response[bytes]:
    """Remixing, editing and extending videos, and characters: no installed model can."""
    return await _refuse(request)


@get(
    ["/characters", "/characters/{character_id:str}"],
    operation_id="openai_refuse_characters",
    opt={"described": _REFUSED_GET},
)
async def refuse_characters(request: HttpRequest) -> Response[bytes]:
    """Characters cannot be made here, so there are none."""
    return await _refuse(request)


async def _refuse(request: HttpRequest) -> Response[bytes]:
    await authenticate(request)
    operation = next(name for name in ("remix", "edits", "extensions", "characters") if name in request.scope["path"].split("/"))
    models = ", ".join(sorted(gateway_of(request).models))
    raise UnsupportedField(
        f"{operation}: none of the installed models ({models}) supports it; create a new video with POST /v1/videos instead",
        param=operation,
    )


router = Router(
    "/v1/videos",
    route_handlers=[
        create_video,
        list_videos,
        get_video,
        delete_video,
        get_content,
        refuse_derivation,
        refuse_characters,
    ],
    opt={"errors": ErrorShape(FailureDocument, render_error)},
)
