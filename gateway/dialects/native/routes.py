"""/v1/jobs: create and read. Further operations stand beside this file, one each."""

import msgspec
from litestar import Response, Router, get, post

from gateway.dialects.native.translate import ask_of, render
from gateway.dialects.native.wire import CreateJob
from gateway.edge.artifacts import signed_link
from gateway.edge.bodies import Form, content_type, convert, nested, read_form, read_json
from gateway.edge.caller import HttpRequest, authenticate, gateway_of, read_job
from gateway.edge.replies import admitted_reply, base_url, json_reply
from gateway.edge.submit import Image, submit
from gateway.errors import InvalidMedia
from gateway.media.errors import ImageRejected
from gateway.media.images import decode_data_url
from gateway.video import Job

IMAGE_MAX_BYTES = 20 << 20
_create = msgspec.json.Decoder(CreateJob)


def renderer(request: HttpRequest):  # noqa: ANN201
    gateway = gateway_of(request)
    base = base_url(request, gateway.settings.public_url)
    return lambda job: render(job, base, lambda j, name: signed_link(gateway, base, j, name))


@post("/jobs", status_code=201, operation_id="create_job")
async def create_job(request: HttpRequest) -> Response[bytes]:
    """Admit a job: priced, held and queued when this returns 201."""
    caller = await authenticate(request)
    files: Form | None = None
    if content_type(request)[0] == "multipart/form-data":
        files = await read_form(request)
        body = convert(nested(files.fields), CreateJob, strict=False)
    else:
        body = await read_json(request, _create)
    admitted = await submit(
        request, caller, ask_of(body), images_of(body, files), dialect="native", status=201, render=renderer(request)
    )
    return admitted_reply(admitted)


@get("/jobs/{job_id:str}", operation_id="get_job")
async def get_job(request: HttpRequest, job_id: str) -> Response[bytes]:
    """The job as it is now. A failed job is a 200 that says so."""
    caller = await authenticate(request)
    return json_reply(renderer(request)(await read_job(request, caller, job_id)))


def images_of(body: CreateJob, form: Form | None) -> list[Image]:
    """The images a request brings, decoded but not looked at. Raises InvalidMedia."""
    uploads = {upload.field: upload.data for upload in form.files} if form else {}
    images: list[Image] = []
    for index, item in enumerate(body.inputs):
        name = item.data.removeprefix("upload:")
        param = f"inputs[{index}].data"
        try:
            data = uploads[name] if name in uploads else decode_data_url(item.data, IMAGE_MAX_BYTES)
        except ImageRejected as error:
            raise InvalidMedia(f"{param}: {error.detail}", param=param) from error
        images.append(Image(item.role, data, param))
    return images


router = Router("/v1", route_handlers=[create_job, get_job])
